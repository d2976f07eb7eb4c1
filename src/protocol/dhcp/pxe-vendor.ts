/**
 * Option 43 of PXE (Preboot Execution Environment 2.1 section 2.2.3): sub-options 6 discovery control, 9 boot menu,
 * 10 menu prompt, 255 end.
 */

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
