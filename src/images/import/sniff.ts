/** What a file is, by its first bytes. Pure. */

export type Compression = 'xz' | 'gzip' | 'zstd' | 'bzip2';

export type FileKind =
  | { readonly kind: 'compressed'; readonly by: Compression }
  | { readonly kind: 'tar' }
  | { readonly kind: 'disk' }
  | { readonly kind: 'file-system'; readonly type: FileSystem }
  | { readonly kind: 'unknown'; readonly looksLike: string };

export type FileSystem = 'ext4' | 'btrfs' | 'vfat' | 'swap' | 'other';

/** As many as `sniff` and `fileSystemOf` look at. */
export const sniffBytes: number = 0x1_0000 + 4096;

const magics: readonly (readonly [Compression, Buffer])[] = [
  ['xz', Buffer.from('fd377a585a00', 'hex')],
  ['gzip', Buffer.from('1f8b08', 'hex')],
  ['zstd', Buffer.from('28b52ffd', 'hex')],
  ['bzip2', Buffer.from('BZh', 'latin1')],
];

export function sniff(bytes: Buffer): FileKind {
  const packed = magics.find(([, magic]) => bytes.subarray(0, magic.length).equals(magic));
  if (packed) {
    return { kind: 'compressed', by: packed[0] };
  }
  if (textAt(bytes, 257, 5) === 'ustar') {
    return { kind: 'tar' };
  }
  const type = fileSystemOf(bytes);
  if (type === 'ext4' || type === 'btrfs') {
    return { kind: 'file-system', type };
  }
  // A FAT file system alone has the same two bytes there, but has no root in it.
  if (bytes.length >= 512 && bytes.readUInt16BE(510) === 0x55aa && type !== 'vfat') {
    return { kind: 'disk' };
  }
  return { kind: 'unknown', looksLike: guess(bytes, type) };
}

function guess(bytes: Buffer, type: FileSystem): string {
  const known: readonly (readonly [string, boolean])[] = [
    ['an empty file', bytes.length === 0],
    ['a ZIP archive; unpack it first', textAt(bytes, 0, 2) === 'PK'],
    ['a 7z archive; unpack it first', textAt(bytes, 0, 2) === '7z'],
    ['a FAT file system without a root beside it', type === 'vfat'],
    ['a squashfs', textAt(bytes, 0, 4) === 'hsqs'],
    ['a QEMU disk; convert it with: qemu-img convert -O raw', textAt(bytes, 0, 3) === 'QFI'],
    ['an ISO 9660 CD', textAt(bytes, 0x8001, 5) === 'CD001'],
    ['a web page; look at the address', /^\s*<(!doctype|html)/i.test(bytes.toString('latin1', 0, 64))],
    ['nothing but zeros', bytes.length > 0 && bytes.every((byte) => byte === 0)],
  ];
  return known.find(([, is]) => is)?.[0] ?? 'none of them';
}

/** Of a partition, by its superblock. */
export function fileSystemOf(bytes: Buffer): FileSystem {
  if (bytes.length >= 2048 && bytes.readUInt16LE(extSuperblock + 56) === 0xef53) {
    return 'ext4';
  }
  if (textAt(bytes, 0x1_0040, 8) === '_BHRfS_M') {
    return 'btrfs';
  }
  if (textAt(bytes, 4096 - 10, 10) === 'SWAPSPACE2') {
    return 'swap';
  }
  const isFat = textAt(bytes, 54, 3) === 'FAT' || textAt(bytes, 82, 3) === 'FAT';
  return isFat ? 'vfat' : 'other';
}

const extSuperblock = 1024;
const needsRecovery = 0x4;

/** The journal has what the file system does not have yet. */
export function hasDirtyJournal(bytes: Buffer): boolean {
  return (bytes.readUInt32LE(extSuperblock + 96) & needsRecovery) !== 0;
}

export interface FileSystemNames {
  readonly uuid?: string;
  readonly label?: string;
}

/** What fstab may name it by. */
export function namesOf(bytes: Buffer, type: FileSystem): FileSystemNames {
  switch (type) {
    case 'ext4':
      return named(uuidAt(bytes, extSuperblock + 104), textAt(bytes, extSuperblock + 120, 16));
    case 'btrfs':
      return named(uuidAt(bytes, 0x1_0020), textAt(bytes, 0x1_012b, 256));
    case 'vfat': {
      const at = textAt(bytes, 82, 3) === 'FAT' ? 67 : 39;
      const id = bytes.readUInt32LE(at).toString(16).toUpperCase().padStart(8, '0');
      return named(`${id.slice(0, 4)}-${id.slice(4)}`, textAt(bytes, at + 4, 11).trimEnd());
    }
    default:
      return {};
  }
}

function named(uuid: string, label: string): FileSystemNames {
  return { uuid, ...(label === '' ? {} : { label }) };
}

function uuidAt(bytes: Buffer, at: number): string {
  const hex = bytes.toString('hex', at, at + 16);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** Up to the first NUL. */
function textAt(bytes: Buffer, at: number, length: number): string {
  return bytes.toString('latin1', at, at + length).replace(/\0.*$/s, '');
}
