/** What goes into a Pi's boot.img, how large it gets, and which boards cannot read it (pi-netboot 2.5, 2.7). */
import type { ImageFile } from '../domain/image.ts';

const kib = 1024;
const mib = kib * kib;
/** One cluster per small file; FAT16 takes images up to 256 MiB with it. */
export const clusterBytes: number = 4 * kib;
/** With fewer clusters than 4085 a file system is FAT12, whatever its boot sector says. */
const minImageBytes = 17 * mib;
/** Boot sector, FAT, root directory, and what the two rendered texts take. */
const overheadBytes = 512 * kib;

/** Firmware for cameras, codecs and debugging, which config.txt has to ask for; the one that we render never does. */
const unusedFirmware = /^(start|fixup)4?(_?(x|db|cd))\.(elf|dat)$/;

export interface RamdiskFile {
  /** As in the image's manifest: boot/overlays/x.dtbo. */
  readonly file: string;
  /** Within boot.img. */
  readonly path: string;
}

/** In order of path, so that the same image gives the same bytes. */
export function ramdiskFiles(files: readonly ImageFile[]): RamdiskFile[] {
  return files
    .filter(({ path }) => path.startsWith('boot/'))
    .map(({ path }) => ({ file: path, path: path.slice('boot/'.length) }))
    .filter(({ path }) => !unusedFirmware.test(path));
}

/** Whole MiB, with room for a directory entry and a part of a cluster for each file. */
export function ramdiskBytes(files: readonly ImageFile[]): number {
  const wanted = new Set(ramdiskFiles(files).map(({ file }) => file));
  const content = files
    .filter(({ path }) => wanted.has(path))
    .reduce((sum, { bytes }) => sum + Math.ceil(bytes / clusterBytes) * clusterBytes + 256, 0);
  return Math.max(minImageBytes, Math.ceil((content + overheadBytes) / mib) * mib);
}

/** Before its block numbers rolled over, firmware cut what has more than 65535 blocks, and said nothing. */
const maxBlocks = 65_535;

const limits = [
  { via: ['tftp', 'http'], bytes: 128 * mib, who: 'no board takes a boot.img of more than 128 MiB' },
  { via: ['tftp'], bytes: maxBlocks * 1468, who: 'boards with an EEPROM older than 2025-09-23 read only the first 96.2 MB of it' },
  { via: ['tftp'], bytes: maxBlocks * 1024, who: 'boards with an EEPROM up to 2022-09 read only the first 67.1 MB of it' },
] as const;

/** Who will not boot from an image of this size. */
export function ramdiskWarnings(bytes: number, via: 'tftp' | 'http'): string[] {
  return limits.filter((limit) => bytes > limit.bytes && limit.via.some((name) => name === via)).map(({ who }) => who);
}
