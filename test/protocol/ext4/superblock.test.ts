import { describe, expect, test } from 'vitest';
import { outsideJournal, superblockBytes } from '#src/protocol/ext4/superblock.ts';

/** As mkfs.ext4 leaves it for a disk of a node: the journal is in inode 8. */
function superblock(change: (bytes: Buffer) => void = () => {}): Buffer {
  const bytes = Buffer.alloc(superblockBytes);
  bytes.writeUInt16LE(0xef53, 0x38);
  bytes.writeUInt32LE(0x3c, 0x5c);
  bytes.writeUInt32LE(0x22c2, 0x60);
  bytes.writeUInt32LE(8, 0xe0);
  change(bytes);
  return bytes;
}

const noJournal = (bytes: Buffer): void => {
  bytes.writeUInt32LE(0x38, 0x5c);
  bytes.writeUInt32LE(0, 0xe0);
};

describe('a superblock that leads nowhere else', () => {
  test.each<[string, Buffer]>([
    ['journal in an inode', superblock()],
    ['journal that has to be replayed', superblock((bytes) => bytes.writeUInt32LE(0x22c6, 0x60))],
    ['no journal', superblock(noJournal)],
    ['options for the mount that open nothing', superblock((bytes) => bytes.write('nodelalloc', 0x200))],
    ['no ext4 at all', Buffer.alloc(superblockBytes, 0xff)],
  ])('%s', (_name, bytes) => expect(outsideJournal(bytes)).toBeUndefined());
});

describe('a superblock that makes its reader open something else', () => {
  test.each<[string, Buffer]>([
    ['device number', superblock((bytes) => bytes.writeUInt32LE(0x801, 0xe4))],
    ['journal without an inode', superblock((bytes) => bytes.writeUInt32LE(0, 0xe0))],
    [
      'UUID of a journal, without the feature',
      superblock((bytes) => {
        noJournal(bytes);
        bytes[0xd3] = 1;
      }),
    ],
    [
      'recovery without a journal',
      superblock((bytes) => {
        noJournal(bytes);
        bytes.writeUInt32LE(0x22c6, 0x60);
      }),
    ],
    ['journal device itself', superblock((bytes) => bytes.writeUInt32LE(0x8, 0x60))],
    ['device in the options for the mount', superblock((bytes) => bytes.write('nodelalloc,journal_dev=0x801', 0x200))],
    ['path in the options for the mount', superblock((bytes) => bytes.write('journal_path=/dev/sda1', 0x200))],
  ])('%s', (_name, bytes) => expect(outsideJournal(bytes)).toMatch(/journal/));
});
