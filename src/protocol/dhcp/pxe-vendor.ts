/**
 * Option 43 of PXE (Preboot Execution Environment 2.1 section 2.2.3): sub-options 6 discovery control, 9 boot menu,
 * 10 menu prompt, 255 end.
 */
import type { DhcpOption } from './message.ts';

const bootItem = 71;
const end = 255;

/**
 * The menu that every Raspberry Pi looks for. Three spaces follow the text because the mask ROM of the 3B computes its
 * length wrongly (documented known problem; fixed in the 3B+); later firmware matches a part of the text, so the
 * padded form serves all of them.
 *
 *   06 01 03              discovery control: use this server, no broadcast, no multicast
 *   0a 04 00 "PXE"        prompt: choose the first entry at once
 *   09 17 0000 14 text    menu: entry of type 0
 */
export function raspberryPiMenu(): Buffer {
  const text = Buffer.from('Raspberry Pi Boot   ', 'latin1');
  const menu = Buffer.concat([Buffer.from([0, 0, text.length]), text]);
  return Buffer.concat([
    Buffer.from([6, 1, 3]),
    Buffer.from([10, 4, 0]),
    Buffer.from('PXE', 'latin1'),
    Buffer.from([9, menu.length]),
    menu,
    Buffer.from([255]),
  ]);
}

/** Discovery control 8: no menu, no discovery, use the boot file name of this offer (dnsmasq sends the same). */
export function useBootFileName(): Buffer {
  return Buffer.from([6, 1, 8, 255]);
}

/**
 * A client that picked an entry of a menu names it in sub-option 71 (type and layer), and takes only an answer with the
 * same one (PXE 2.1 section 2.4.4).
 */
export function echoBootItem(answer: DhcpOption, asked: Buffer | undefined): DhcpOption {
  const item = asked && subOption(asked, bootItem);
  if (!item) {
    return answer;
  }
  const body = answer.data.at(-1) === end ? answer.data.subarray(0, -1) : answer.data;
  return { code: answer.code, data: Buffer.concat([body, Buffer.from([bootItem, item.length]), item, Buffer.from([end])]) };
}

function subOption(data: Buffer, wanted: number): Buffer | undefined {
  for (let at = 0; at + 1 < data.length && data[at] !== end; at += 2 + (data[at + 1] ?? 0)) {
    const value = data.subarray(at + 2, at + 2 + (data[at + 1] ?? 0));
    if (data[at] === wanted) {
      return value;
    }
  }
  return undefined;
}
