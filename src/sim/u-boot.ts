/** U-Boot's `pxe get` and `pxe boot` (u-boot: net/bootp.c, boot/pxe_utils.c). */
import { UserError } from '../domain/errors.ts';
import { anyAddress, ipv4ToNumber } from '../domain/ipv4.ts';
import { type Board, type Booted, needed } from './board.ts';
import { optionText } from './dhcp-wire.ts';
import type { PcModel } from './models.ts';
import { type BootInfo, pcDhcp } from './pc-dhcp.ts';
import type { Fetched } from './tftp-client.ts';
import type { TftpOption } from './tftp-wire.ts';

const windowsMs = [250, 500, 1000, 2000, 4000, 8000, 16_000];
const timeoutSeconds = 5;
/** 10 times its timeout. */
const timing = { requestEveryMs: timeoutSeconds * 1000, ackEveryMs: timeoutSeconds * 1000, silenceMs: timeoutSeconds * 10_000 };
const ask: readonly TftpOption[] = [
  ['timeout', String(timeoutSeconds)],
  ['tsize', '0'],
  ['blksize', '1468'],
];
const defaults = ['default-arm-armv8', 'default-arm', 'default'];

export async function bootUBoot(board: Board, model: PcModel): Promise<Booted> {
  const uuid = Buffer.from(board.options.serial.replaceAll('-', ''), 'hex');
  const info = await pcDhcp(board, {
    stage: 'u-boot',
    windowsMs,
    vendorClass: undefined,
    isEnough: (offers) => offers.some(({ reply }) => reply.yiaddr !== anyAddress),
    options: [
      [57, [0x02, 0x40]],
      [93, [model.pxeArch >> 8, model.pxeArch & 0xff]],
      [94, [1, 0, 0]],
      [97, Buffer.concat([Buffer.from([0]), uuid])],
      [60, 'U-Boot.armv8'],
      [55, [1, 3, 6, 12, 17, 209]],
    ],
  });
  const how = { ask, timing, strictDuplicates: false, noWrap: false };
  const get = (name: string): Promise<Fetched> => board.fetch(name, how);
  const directory = info.file.includes('/') ? `${info.file.slice(0, info.file.lastIndexOf('/'))}/` : '';
  const config = parseConfig(await readConfig(board, info, directory, (name) => board.fetch(name, { ...how, keep: true })));
  const kernel = needed(await get(`${directory}${config.kernel}`), config.kernel);
  const initramfs = config.initrd === undefined ? undefined : needed(await get(`${directory}${config.initrd}`), config.initrd);
  if (config.fdt !== undefined) {
    needed(await get(`${directory}${config.fdt}`), config.fdt);
  }
  return { address: board.address, server: board.server, kernelBytes: kernel.size, initramfsBytes: initramfs?.size ?? 0 };
}

/** Option 209 names one file; else UUID, MAC, address from whole to one digit, defaults. */
async function readConfig(board: Board, info: BootInfo, directory: string, get: (name: string) => Promise<Fetched>): Promise<Buffer> {
  const named = optionText(info.reply, 209)?.replaceAll('\0', '');
  const hex = ipv4ToNumber(board.address).toString(16).toUpperCase().padStart(8, '0');
  const byAddress = Array.from({ length: 8 }, (_, index) => hex.slice(0, 8 - index));
  const mac = `01-${board.options.mac.replaceAll(':', '-')}`;
  const names = [board.options.serial, mac, ...byAddress, ...defaults].map((name) => `${directory}pxelinux.cfg/${name}`);
  for (const name of named === undefined ? names : [named]) {
    const read = await get(name);
    if (read.kind === 'found' && read.bytes) {
      return read.bytes;
    }
  }
  throw new UserError('failed', `U-Boot found no ${named ?? 'pxelinux.cfg'}`);
}

/** Of the default label, or the first one. @throws UserError failed */
function parseConfig(bytes: Buffer): { kernel: string; initrd?: string; fdt?: string } {
  const lines = bytes
    .toString('latin1')
    .split('\n')
    .map((line) => line.trim());
  const value = (pattern: RegExp, from: readonly string[]): string | undefined =>
    from.map((line) => pattern.exec(line)?.[1]).find((found) => found !== undefined);
  const wanted = value(/^default\s+(\S+)/i, lines);
  const start = lines.findIndex((line) => new RegExp(`^label\\s+${wanted === undefined ? '' : RegExp.escape(wanted)}`, 'i').test(line));
  const end = lines.findIndex((line, index) => index > start && /^label\s/i.test(line));
  const label = lines.slice(start + 1, end === -1 ? undefined : end);
  const kernel = value(/^(?:kernel|linux)\s+(\S+)/i, label);
  if (start === -1 || kernel === undefined) {
    throw new UserError('failed', 'The pxelinux configuration names no kernel');
  }
  const initrd = value(/^initrd\s+(\S+)/i, label) ?? value(/^append\s.*?\binitrd=(\S+)/i, label);
  const fdt = value(/^(?:fdt|devicetree)\s+(\S+)/i, label);
  return { kernel, ...(initrd === undefined ? {} : { initrd }), ...(fdt === undefined ? {} : { fdt }) };
}
