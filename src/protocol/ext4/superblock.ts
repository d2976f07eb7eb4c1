/** Of the superblock of ext4 (Linux, Documentation/filesystems/ext4/super.rst) what makes its reader open something else. */

export const superblockOffset = 1024;
export const superblockBytes = 1024;

const magic = 0xef53;
const hasJournal = 0x4;
const needsRecovery = 0x4;
const isJournalDevice = 0x8;

/**
 * Why whoever mounts or checks this file system would open another device or file of the machine: then the reason.
 * The kernel follows the number of a journal's device, and options for the mount that are in the superblock
 * (ext4(5), journal_dev and journal_path); e2fsck looks for the UUID of a journal that is in no inode.
 */
export function outsideJournal(superblock: Buffer): string | undefined {
  if (superblock.readUInt16LE(0x38) !== magic) {
    return undefined;
  }
  const compatible = superblock.readUInt32LE(0x5c);
  const incompatible = superblock.readUInt32LE(0x60);
  if ((incompatible & isJournalDevice) !== 0) {
    return 'it is the journal of another file system';
  }
  const uuid = superblock.subarray(0xd0, 0xe0);
  const inode = superblock.readUInt32LE(0xe0);
  const device = superblock.readUInt32LE(0xe4);
  const wantsJournal = (compatible & hasJournal) !== 0 || (incompatible & needsRecovery) !== 0 || uuid.some((byte) => byte !== 0);
  if (device !== 0 || (inode === 0 && wantsJournal)) {
    return 'its journal is on another device';
  }
  const options = superblock.subarray(0x200, 0x240).toString('latin1');
  return /journal_(dev|path)/.test(options) ? 'its mount options name a journal on another device' : undefined;
}
