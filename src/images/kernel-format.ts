/** What kind of kernel a file is, by its first bytes. */
import zlib from 'node:zlib';
import type { KernelFormat } from '../domain/image-contents.ts';

/** So much of the file is enough. */
export const kernelHeadBytes = 65_536;

/** RFC 1952 section 2.3.1. */
const gzipMagic = 0x1f8b;
/** Linux Documentation/arch/arm64/booting.rst: "ARM\x64" at 56. */
const arm64 = { at: 56, magic: 0x644d_5241 };
/** zImage: arch/arm/boot/compressed/head.S. */
const arm = { at: 36, magic: 0x016f_2818 };
/** "HdrS", Linux Documentation/arch/x86/boot.rst. */
const x86 = { at: 0x202, magic: 0x5372_6448 };

export function readKernelFormat(head: Buffer): KernelFormat {
  const bytes = head.length >= 2 && head.readUInt16BE(0) === gzipMagic ? beginningOf(head) : head;
  const has = ({ at, magic }: { readonly at: number; readonly magic: number }): boolean =>
    bytes.length >= at + 4 && bytes.readUInt32LE(at) === magic;
  if (has(arm64)) {
    return 'arm64';
  }
  if (has(arm)) {
    return 'arm';
  }
  return has(x86) ? 'x86' : 'unknown';
}

/** The head is cut off somewhere, which is no error here. */
function beginningOf(packed: Buffer): Buffer {
  try {
    return zlib.gunzipSync(packed, { finishFlush: zlib.constants.Z_SYNC_FLUSH });
  } catch {
    // Not gzip after all: a kernel of no known kind.
    return Buffer.alloc(0);
  }
}
