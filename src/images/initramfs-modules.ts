/** Which kernel modules an initramfs brings: cpio in the form "newc" (Linux Documentation/driver-api/early-userspace/buffer-format.rst). */
import zlib from 'node:zlib';
import { moduleName } from './modules.ts';

const headerBytes = 110;
const magics = ['070701', '070702'];
const trailer = 'TRAILER!!!';
const zstdMagic = 0xfd2f_b528;

export interface InitramfsModules {
  /** Of the kernel that they are for. */
  readonly version: string | undefined;
  readonly modules: readonly string[];
}

/** Undefined when it is not packed in a way that we know, or damaged. */
export function initramfsModules(packed: Buffer): InitramfsModules | undefined {
  try {
    const archive = unpack(packed);
    if (!archive) {
      return undefined;
    }
    const names = cpioNames(archive);
    const version = names.map((name) => /(?:^|\/)lib\/modules\/([^/]+)$/.exec(name)?.[1]).find((found) => found !== undefined);
    return { version, modules: names.filter(isModule).map(moduleName) };
  } catch {
    // What cannot be unpacked is damaged.
    return undefined;
  }
}

function isModule(path: string): boolean {
  return /\.ko(\.\w+)?$/.test(path);
}

function unpack(bytes: Buffer): Buffer | undefined {
  if (bytes.length < 6) {
    return undefined;
  }
  if (bytes.readUInt32LE(0) === zstdMagic) {
    return zlib.zstdDecompressSync(bytes);
  }
  if (bytes.readUInt16BE(0) === 0x1f8b) {
    return zlib.gunzipSync(bytes);
  }
  return magics.includes(bytes.toString('latin1', 0, 6)) ? bytes : undefined;
}

function cpioNames(archive: Buffer): string[] {
  const names: string[] = [];
  let at = 0;
  while (at + headerBytes <= archive.length && magics.includes(archive.toString('latin1', at, at + 6))) {
    const field = (index: number): number => Number.parseInt(archive.toString('latin1', at + 6 + 8 * index, at + 14 + 8 * index), 16);
    const [fileBytes, nameBytes] = [field(6), field(11)];
    const name = archive.toString('utf8', at + headerBytes, at + headerBytes + nameBytes - 1);
    if (name === trailer) {
      return names;
    }
    names.push(name);
    at += padded(headerBytes + nameBytes) + padded(fileBytes);
  }
  throw new RangeError('the archive ends without its trailer');
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
