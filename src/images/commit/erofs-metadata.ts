/**
 * Reads names, modes, owners and extended attributes out of an erofs image (Documentation/filesystems/erofs.rst and
 * fs/erofs/erofs_fs.h of Linux), but no contents of files. Directories are never compressed.
 */
import type { FileHandle } from 'node:fs/promises';
import { UserError } from '../../domain/errors.ts';

export interface ErofsEntry {
  /** From the root, with a leading slash; empty for the root itself. Names are bytes, one a character (latin1). */
  readonly path: string;
  /** The same for all names of one file. */
  readonly nid: number;
  readonly mode: number;
  /** Full names; values in hex as setfattr takes them. */
  readonly xattrs: ReadonlyMap<string, string>;
}

/** Indexes of EROFS_XATTR_INDEX_*. */
const prefixes: Readonly<Record<number, string>> = {
  1: 'user.',
  2: 'system.posix_acl_access',
  3: 'system.posix_acl_default',
  4: 'trusted.',
  6: 'security.',
};

const magic = 0xe0f5e1e2;
const superblockAt = 1024;
const slotBytes = 32;
const directoryType = 0o040000;
const layouts = { plain: 0, inline: 2 } as const;

interface Inode {
  readonly mode: number;
  readonly size: number;
  readonly layout: number;
  readonly blockAddress: number;
  readonly xattrAt: number;
  readonly xattrBytes: number;
}

interface Volume {
  readonly file: FileHandle;
  readonly blockBytes: number;
  readonly metaAt: number;
  readonly sharedAt: number;
}

/** In any order, but a directory before what is in it. @throws UserError failed for what this cannot read */
export async function readErofs(file: FileHandle): Promise<ErofsEntry[]> {
  const superblock = await bytesAt(file, superblockAt, 128);
  if (superblock.readUInt32LE(0) !== magic) {
    throw new UserError('failed', 'The root is not in the format erofs');
  }
  const blockBytes = 2 ** superblock.readUInt8(12);
  const volume: Volume = {
    file,
    blockBytes,
    metaAt: superblock.readUInt32LE(40) * blockBytes,
    sharedAt: superblock.readUInt32LE(44) * blockBytes,
  };
  const entries: ErofsEntry[] = [];
  const waiting = [{ path: '', nid: superblock.readUInt16LE(14) }];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const inode = await readInode(volume, next.nid);
    entries.push({ ...next, mode: inode.mode, xattrs: await readAttributes(volume, inode) });
    if ((inode.mode & 0o170000) === directoryType) {
      for (const { name, nid } of await readDirectory(volume, inode)) {
        waiting.push({ path: `${next.path}/${name}`, nid });
      }
    }
  }
  return entries;
}

async function readInode({ file, metaAt }: Volume, nid: number): Promise<Inode> {
  const at = metaAt + nid * slotBytes;
  const bytes = await bytesAt(file, at, 64);
  const format = bytes.readUInt16LE(0);
  const isExtended = (format & 1) === 1;
  const count = bytes.readUInt16LE(2);
  return {
    mode: bytes.readUInt16LE(4),
    size: isExtended ? Number(bytes.readBigUInt64LE(8)) : bytes.readUInt32LE(8),
    layout: (format >> 1) & 7,
    blockAddress: bytes.readUInt32LE(16),
    xattrAt: at + (isExtended ? 64 : 32),
    xattrBytes: count === 0 ? 0 : 12 + 4 * (count - 1),
  };
}

/** A head of 12 bytes with the number of shared ones, their places, then those of this inode alone. */
async function readAttributes({ file, sharedAt }: Volume, inode: Inode): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  if (inode.xattrBytes === 0) {
    return found;
  }
  const body = await bytesAt(file, inode.xattrAt, inode.xattrBytes);
  const shared = body.readUInt8(4);
  for (let index = 0; index < shared; index += 1) {
    // Larger than any attribute that fits into a block.
    const at = sharedAt + 4 * body.readUInt32LE(12 + 4 * index);
    readAttribute(await bytesAt(file, at, 4 + 255 + 65_536), 0, found);
  }
  for (let at = 12 + 4 * shared; at + 4 <= body.length; ) {
    at = readAttribute(body, at, found);
  }
  return found;
}

/** Where the next one begins. */
function readAttribute(bytes: Buffer, at: number, found: Map<string, string>): number {
  const nameBytes = bytes.readUInt8(at);
  const valueBytes = bytes.readUInt16LE(at + 2);
  const index = bytes.readUInt8(at + 1);
  const prefix = prefixes[index];
  if (prefix === undefined) {
    throw new UserError('failed', `The root has an extended attribute of a kind that is not known (${index})`);
  }
  const nameAt = at + 4;
  const valueAt = nameAt + nameBytes;
  const name = bytes.toString('utf8', nameAt, valueAt);
  found.set(`${prefix}${name}`, `0x${bytes.toString('hex', valueAt, valueAt + valueBytes)}`);
  return at + Math.ceil((4 + nameBytes + valueBytes) / 4) * 4;
}

async function readDirectory(volume: Volume, inode: Inode): Promise<{ name: string; nid: number }[]> {
  const { file, blockBytes } = volume;
  if (inode.layout !== layouts.plain && inode.layout !== layouts.inline) {
    throw new UserError('failed', `The root has a directory in a layout that is not known (${inode.layout})`);
  }
  const inlineBytes = inode.layout === layouts.inline ? inode.size % blockBytes : 0;
  const plain = await bytesAt(file, inode.blockAddress * blockBytes, inode.size - inlineBytes);
  const tail = await bytesAt(file, inode.xattrAt + inode.xattrBytes, inlineBytes);
  const entries: { name: string; nid: number }[] = [];
  for (let at = 0; at < plain.length; at += blockBytes) {
    entries.push(...readDirectoryBlock(plain.subarray(at, at + blockBytes)));
  }
  entries.push(...readDirectoryBlock(tail));
  return entries.filter(({ name }) => name !== '.' && name !== '..');
}

/** Entries of 12 bytes (nid, where the name begins, type), then the names; the first name begins where the entries end. */
function readDirectoryBlock(block: Buffer): { name: string; nid: number }[] {
  if (block.length === 0) {
    return [];
  }
  const count = block.readUInt16LE(8) / 12;
  return Array.from({ length: count }, (_, index) => {
    const nameAt = block.readUInt16LE(12 * index + 8);
    const end = index + 1 < count ? block.readUInt16LE(12 * (index + 1) + 8) : block.length;
    const name = block.toString('latin1', nameAt, end).replace(/\0.*$/s, '');
    return { name, nid: Number(block.readBigUInt64LE(12 * index)) };
  });
}

/** Fewer at the end of the file. */
async function bytesAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = length === 0 ? { bytesRead: 0 } : await file.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}
