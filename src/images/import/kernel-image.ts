/** Which kernel a file is: architecture and version, by its bytes. Pure. */

export type KernelArch = 'arm64' | 'armhf' | 'amd64' | 'i386';

export type KernelBytes =
  | { readonly kind: 'kernel'; readonly arch: KernelArch; readonly version: string }
  /** What tells the version is packed, from this byte on. */
  | { readonly kind: 'gzip'; readonly from: number; readonly arch: KernelArch | undefined }
  | { readonly kind: 'other'; readonly reason: string };

const gzipMagic = Buffer.from('1f8b08', 'hex');
/** Linux, Documentation/arch/arm64/booting.rst: "ARM\x64" at 56. */
const arm64Magic = 'ARMd';
/** arch/arm/boot/compressed/head.S: magic of a zImage at 0x24. */
const zImageMagic = 0x016f_2818;
/** Linux, Documentation/arch/x86/boot.rst. */
const x86 = { magicAt: 0x202, versionAt: 0x20e, loadFlagsAt: 0x236, loads64: 1 } as const;
const versionText = 'Linux version ';
/** A kernel has it two or three times. */
const maxFinds = 100;

export function readKernel(bytes: Buffer): KernelBytes {
  if (bytes.subarray(0, 3).equals(gzipMagic)) {
    return { kind: 'gzip', from: 0, arch: undefined };
  }
  if (bytes.length < 0x240) {
    return { kind: 'other', reason: 'it is too short for a kernel' };
  }
  if (text(bytes, 56, 4) === arm64Magic) {
    return text(bytes, 4, 4) === 'zimg' ? readEfiZboot(bytes) : withVersion(bytes, 'arm64');
  }
  if (text(bytes, 0, 2) === 'MZ' && text(bytes, 4, 4) === 'zimg') {
    return readEfiZboot(bytes);
  }
  if (text(bytes, x86.magicAt, 4) === 'HdrS') {
    return readBzImage(bytes);
  }
  if (bytes.readUInt32LE(0x24) === zImageMagic) {
    const from = bytes.indexOf(gzipMagic, 0x28);
    return from === -1 ? { kind: 'other', reason: 'it is packed in a way that is not gzip' } : { kind: 'gzip', from, arch: 'armhf' };
  }
  return { kind: 'other', reason: 'it is no Linux kernel' };
}

/** drivers/firmware/efi/libstub/zboot-header.S: where the packed kernel begins at 8, how it is packed at 24. */
function readEfiZboot(bytes: Buffer): KernelBytes {
  const how = text(bytes, 24, 32);
  return how === 'gzip'
    ? { kind: 'gzip', from: bytes.readUInt32LE(8), arch: 'arm64' }
    : { kind: 'other', reason: `it is packed with ${how}, which firmware and initramfs tools cannot read` };
}

function readBzImage(bytes: Buffer): KernelBytes {
  const at = bytes.readUInt16LE(x86.versionAt) + 0x200;
  const version = text(bytes, at, 256).split(' ')[0] ?? '';
  const arch = (bytes.readUInt16LE(x86.loadFlagsAt) & x86.loads64) === 0 ? 'i386' : 'amd64';
  return isVersion(version) ? { kind: 'kernel', arch, version } : { kind: 'other', reason: 'it does not tell its version' };
}

/** Of what a packed kernel unpacks to; an arm64 one has its magic again. */
export function readUnpacked(bytes: Buffer, arch: KernelArch | undefined): KernelBytes {
  const is64 = text(bytes, 56, 4) === arm64Magic;
  return is64 || arch !== undefined
    ? withVersion(bytes, is64 ? 'arm64' : (arch ?? 'armhf'))
    : { kind: 'other', reason: 'it is no Linux kernel' };
}

function withVersion(bytes: Buffer, arch: KernelArch): KernelBytes {
  let at = bytes.indexOf(versionText);
  for (let finds = 0; at !== -1 && finds < maxFinds; finds += 1) {
    const version = text(bytes, at + versionText.length, 128).split(' ')[0] ?? '';
    // The first find may be a format string, "Linux version %s".
    if (isVersion(version)) {
      return { kind: 'kernel', arch, version };
    }
    at = bytes.indexOf(versionText, at + 1);
  }
  return { kind: 'other', reason: 'it does not tell its version' };
}

/** It becomes part of a path. */
function isVersion(word: string): boolean {
  return /^\d+\.\d+[\w.+~-]*$/.test(word);
}

function text(bytes: Buffer, at: number, length: number): string {
  return bytes.toString('latin1', at, at + length).replace(/\0.*$/s, '');
}
