/** The root and the boot partition of a disk image, through read-only loop mounts that end with the program that reads them. */
import { open } from 'node:fs/promises';
import { DecodeError, UserError } from '../../domain/errors.ts';
import { containedCommand, run } from '../../process/run.ts';
import { outsideJournal, superblockBytes, superblockOffset } from '../../protocol/ext4/superblock.ts';
import type { PartitionTable } from '../../protocol/partition-table/partition.ts';
import { readPartitionTable } from '../../protocol/partition-table/partition-table.ts';
import { openTree } from '../tree-access.ts';
import { bytesText } from './bytes-text.ts';
import { unpackConfined } from './confined-tar.ts';
import { requireSpace } from './decompress.ts';
import { type FstabLine, parseFstab } from './fstab.ts';
import { type FileSystem, type FileSystemNames, fileSystemOf, hasDirtyJournal, namesOf, sniffBytes } from './sniff.ts';

export interface DiskPartition extends FileSystemNames {
  readonly number: number;
  readonly startBytes: number;
  readonly bytes: number;
  readonly partUuid: string;
  readonly fileSystem: FileSystem;
  /** ext4 only. */
  readonly isDirty: boolean;
}

/** @throws UserError bad-input */
export async function readPartitions(file: string): Promise<{ table: PartitionTable | undefined; partitions: DiskPartition[] }> {
  await using handle = await open(file, 'r');
  const { size } = await handle.stat();
  const read = async (offset: number, length: number): Promise<Buffer> => {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, offset);
    return buffer.subarray(0, bytesRead);
  };
  const describe = async (number: number, startBytes: number, bytes: number, partUuid: string): Promise<DiskPartition> => {
    const head = await read(startBytes, Math.min(bytes, sniffBytes));
    const fileSystem = fileSystemOf(head);
    const isDirty = fileSystem === 'ext4' && hasDirtyJournal(head);
    return { number, startBytes, bytes, partUuid, fileSystem, isDirty, ...namesOf(head, fileSystem) };
  };
  const whole = await describe(1, 0, size, '');
  if (whole.fileSystem === 'ext4' || whole.fileSystem === 'btrfs') {
    return { table: undefined, partitions: [whole] };
  }
  try {
    const reading = readPartitionTable(size);
    let step = reading.next();
    while (!step.done) {
      step = reading.next(await read(step.value.offset, step.value.length));
    }
    const table = step.value;
    const partitions: DiskPartition[] = [];
    for (const { number, startBytes, bytes, partUuid } of table.partitions) {
      partitions.push(await describe(number, startBytes, bytes, partUuid));
    }
    return { table, partitions };
  } catch (cause) {
    if (!(cause instanceof DecodeError)) {
      throw cause;
    }
    throw new UserError('bad-input', `${file} has no partition table that can be used: ${cause.message}`, {
      cause,
      hint: 'The image may be cut short, or be no disk image at all; fetch it again, and give its checksum with --sha256',
    });
  }
}

export interface DiskOptions {
  readonly file: string;
  /** The file is a copy of ours. */
  readonly isOurs: boolean;
  readonly work: string;
  readonly tree: string;
  readonly signal: AbortSignal;
  readonly onProgress: (fraction: number, bytes: number) => void;
}

export interface DiskRoot {
  readonly partitions: readonly DiskPartition[];
  readonly root: DiskPartition;
  /** The FAT partition that fstab mounts below /boot, else the first one. */
  readonly fat: DiskPartition | undefined;
  /** The file that has them now. */
  readonly file: string;
  /** For the report. */
  readonly notes: readonly string[];
}

/** Copies the root, and what fstab mounts into it from other partitions, into `tree`. @throws UserError */
export async function unpackDisk(options: DiskOptions): Promise<DiskRoot> {
  const { partitions, table } = await readPartitions(options.file);
  const notes = table?.fromBackup ? ['The first partition table was broken; its second copy was used'] : [];
  const candidates = partitions.filter(({ fileSystem }) => fileSystem === 'ext4' || fileSystem === 'btrfs');
  const file = await settleJournals(candidates, options, notes);
  const found = await findRoot(candidates, { ...options, file });
  if (!found) {
    const seen = partitions.map((one) => `${one.number}: ${one.fileSystem}, ${bytesText(one.bytes)}`).join('; ');
    throw new UserError('bad-input', `${options.file} has no partition with a Linux system (${seen || 'it has no partitions'})`, {
      hint: 'The root must be ext2, ext3, ext4 or btrfs, and have /sbin/init or /etc/os-release',
    });
  }
  const { root, subvolume } = found;
  await requireSpace(found.usedBytes, options.work, options.file);
  const copy = async (partition: DiskPartition, into: string, name: string, from: number, to: number): Promise<void> => {
    const onBytes = (bytes: number): void =>
      options.onProgress(from + (to - from) * Math.min(1, bytes / Math.max(1, found.usedBytes)), bytes);
    await copyFileSystem(partition, name, into, { ...options, file, onBytes });
  };
  await copy(root, '', subvolume, 0, 0.9);
  const mounts = await otherMounts(root, partitions, options.tree);
  for (const { partition, line } of mounts) {
    if (partition.fileSystem === 'ext4' || partition.fileSystem === 'btrfs') {
      await copy(partition, line.mountPoint.replace(/^\//, ''), subvolumeOption(line), 0.9, 0.98);
      notes.push(`${line.mountPoint} came from partition ${partition.number}`);
    }
  }
  const fats = partitions.filter(({ fileSystem }) => fileSystem === 'vfat');
  const fat =
    mounts.find(({ partition, line }) => partition.fileSystem === 'vfat' && line.mountPoint !== '/boot/efi')?.partition ?? fats[0];
  return { partitions, root, fat, file, notes };
}

/** A journal is written back on a copy of ours: the file of the user stays as it is. */
async function settleJournals(candidates: readonly DiskPartition[], options: DiskOptions, notes: string[]): Promise<string> {
  await requireOwnJournals(options.file, candidates);
  const dirty = candidates.filter(({ isDirty }) => isDirty);
  if (dirty.length === 0) {
    return options.file;
  }
  const file = options.isOurs ? options.file : `${options.work}/disk.img`;
  if (!options.isOurs) {
    await run('cp', ['--reflink=auto', '--sparse=always', options.file, file], { signal: options.signal });
  }
  for (const partition of dirty) {
    const script = 'set -e; mnt="$6"; mkdir -p "$mnt"; mount -t "$1" -o "$2,offset=$3,sizelimit=$4" "$5" "$mnt"; umount "$mnt"';
    const args = ['-c', script, 'journal', ...mountArguments(partition, 'rw', '', file), `${options.work}/mount.journal`];
    await run(...containedCommand('bash', args), { signal: options.signal });
    const { number } = partition;
    notes.push(`The journal of partition ${number} was written back: the system was not shut down before its disk was copied`);
  }
  // A journal may bring another superblock.
  await requireOwnJournals(file, dirty);
  return file;
}

/** The kernel opens whatever device of this machine a superblock names. @throws UserError bad-input */
async function requireOwnJournals(file: string, partitions: readonly DiskPartition[]): Promise<void> {
  await using handle = await open(file, 'r');
  for (const { number, startBytes } of partitions.filter(({ fileSystem }) => fileSystem === 'ext4')) {
    const superblock = Buffer.alloc(superblockBytes);
    await handle.read(superblock, 0, superblockBytes, startBytes + superblockOffset);
    const reason = outsideJournal(superblock);
    if (reason !== undefined) {
      throw new UserError('bad-input', `Partition ${number} (ext4) is not mounted: ${reason}`, {
        hint: 'Give it a journal of its own in the system that it comes from (tune2fs), and copy its disk again',
      });
    }
  }
}

interface Mountable {
  readonly file: string;
  readonly work: string;
  readonly signal: AbortSignal;
}

/**
 * For bash: mounts "$1" (type, options, offset, size, file follow) at "$mnt". A btrfs whose log was not written back
 * cannot be mounted from a read-only loop device as it is.
 */
const mountLines = [
  'options="$2,offset=$3,sizelimit=$4"',
  'mount -t "$1" -o "$options" "$5" "$mnt" || { [ "$1" = btrfs ] && mount -t btrfs -o "$options,rescue=nologreplay" "$5" "$mnt"; }',
].join('\n');

/** The superblock of an ext4 may ask for errors=panic: one bad inode, and this machine would be down. btrfs has no such option. */
export function mountOptions(fileSystem: FileSystem, access: 'ro' | 'rw', subvolume: string): string {
  const onErrors = access === 'ro' ? 'errors=continue' : 'errors=remount-ro';
  return [
    'loop,nodev,nosuid,noexec',
    access,
    ...(fileSystem === 'ext4' ? [onErrors] : []),
    ...(subvolume === '' ? [] : [`subvol=${subvolume}`]),
  ].join(',');
}

function mountArguments(partition: DiskPartition, access: 'ro' | 'rw', subvolume: string, file: string): string[] {
  const options = mountOptions(partition.fileSystem, access, subvolume);
  return [partition.fileSystem, options, String(partition.startBytes), String(partition.bytes), file];
}

/** Usual names of the subvolume that is the root, and the top itself. */
const rootSubvolumes = ['', '@', '@rootfs', 'root'];

async function findRoot(
  candidates: readonly DiskPartition[],
  { file, work, signal }: Mountable,
): Promise<{ root: DiskPartition; subvolume: string; usedBytes: number } | undefined> {
  const script = [
    'set -e; mnt="$6.probe"; mkdir -p "$mnt"',
    mountLines,
    'for name in etc/os-release usr/lib/os-release sbin/init usr/lib/systemd/systemd; do',
    '  if [ -e "$mnt/$name" ] || [ -L "$mnt/$name" ]; then',
    '    stat -f -c "root %b %f %S" "$mnt"; exit 0',
    '  fi',
    'done',
  ].join('\n');
  for (const partition of candidates.toSorted((a, b) => b.bytes - a.bytes)) {
    for (const subvolume of partition.fileSystem === 'btrfs' ? rootSubvolumes : ['']) {
      const args = [...mountArguments(partition, 'ro', subvolume, file), `${work}/mount`];
      const [program, contained] = containedCommand('bash', ['-c', script, 'probe', ...args]);
      const said = await run(program, contained, { signal }).catch((error: unknown) => {
        if (error instanceof UserError && error.code === 'failed') {
          return error.message;
        }
        throw error;
      });
      const [, blocks, free, blockBytes] = /^root (\d+) (\d+) (\d+)$/m.exec(said) ?? [];
      if (blocks !== undefined) {
        return { root: partition, subvolume, usedBytes: (Number(blocks) - Number(free)) * Number(blockBytes) };
      }
      if (subvolume === '' && /mount:/.test(said)) {
        throw new UserError('bad-input', `Partition ${partition.number} (${partition.fileSystem}) cannot be mounted:\n${said}`, {
          hint: 'The image may be damaged; fetch it again, and give its checksum with --sha256',
        });
      }
    }
  }
  return undefined;
}

async function copyFileSystem(
  partition: DiskPartition,
  subvolume: string,
  into: string,
  options: Mountable & { readonly tree: string; readonly onBytes: (bytes: number) => void },
): Promise<void> {
  const args = mountArguments(partition, 'ro', subvolume, options.file);
  await unpackConfined({ kind: 'directory', prepare: mountLines, args }, { ...options, into });
}

/** Places that a root may have on a partition of their own. */
const mountPoints = ['/boot', '/boot/firmware', '/boot/efi', '/usr', '/var', '/home', '/opt', '/srv'];

async function otherMounts(
  root: DiskPartition,
  partitions: readonly DiskPartition[],
  tree: string,
): Promise<{ partition: DiskPartition; line: FstabLine }[]> {
  const fstab = parseFstab((await openTree(tree).read('etc/fstab')) ?? '');
  return fstab.flatMap((line) => {
    const partition = partitions.find((one) => isNamed(one, line.device));
    const isSubvolume = partition === root && subvolumeOption(line) !== '';
    return partition && mountPoints.includes(line.mountPoint) && (partition !== root || isSubvolume) ? [{ partition, line }] : [];
  });
}

function subvolumeOption(line: FstabLine): string {
  return /(?:^|,)subvol=\/?([\w@./-]+)/.exec(line.options)?.[1] ?? '';
}

function isNamed(partition: DiskPartition, device: string): boolean {
  const [tag = '', value = ''] = device.split('=').map((part) => part.replaceAll('"', ''));
  const same = (own: string | undefined): boolean => own?.toLowerCase() === value.toLowerCase();
  switch (tag) {
    case 'UUID':
      return same(partition.uuid);
    case 'PARTUUID':
      return same(partition.partUuid);
    case 'LABEL':
      return same(partition.label);
    default:
      return /^\/dev\/(?:mmcblk0p|sd[a-z]|vd[a-z]|nvme0n1p)(\d+)$/.exec(device)?.[1] === String(partition.number);
  }
}
