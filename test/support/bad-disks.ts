/** What root on a node can make of its disk, with debugfs. */
import { copyFile, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '#src/process/run.ts';

async function debugfs(disk: string, ...commands: string[]): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'cardless-debugfs-'));
  await writeFile(join(directory, 'commands'), `${commands.join('\n')}\n`);
  try {
    return await run('debugfs', ['-w', '-f', 'commands', disk], { cwd: directory });
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** Two files have one block, and the superblock says that all is clean. */
export async function withSharedBlock(disk: string): Promise<void> {
  const said = await debugfs(disk, 'write commands one', 'write commands two', 'bmap one 0');
  const block = said.trim().split('\n').at(-1);
  // Behind the header of the extents, and what the first of them covers.
  await debugfs(disk, `set_inode_field two block[5] ${block}`);
}

/** The kernel would open whatever block device has this number. */
export async function withJournalElsewhere(disk: string): Promise<void> {
  await debugfs(disk, 'set_super_value journal_dev 0x700', 'set_super_value journal_inum 0');
}

/** Only when the journal is replayed does the superblock name a device. */
export async function withJournalThatNamesDevice(disk: string): Promise<void> {
  const copy = `${disk}.copy`;
  await copyFile(disk, copy);
  await run('tune2fs', ['-E', 'mount_opts=journal_path=/dev/sda1', copy]);
  const block = Buffer.alloc(4096);
  {
    await using file = await open(copy, 'r');
    await file.read(block, 0, block.length, 0);
  }
  await writeFile(copy, block);
  await debugfs(disk, 'journal_open', `journal_write -b 0 ${copy}`, 'journal_close');
  await rm(copy);
}
