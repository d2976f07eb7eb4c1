/** Mounts of a commit. They are made in mount name spaces of its own, with which they end (process/run.ts). */
import type { Stats } from 'node:fs';
import { lstat, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, systemCode, UserError } from '../../domain/errors.ts';
import type { Image } from '../../domain/image.ts';
import { run } from '../../process/run.ts';
import { extractErofs } from './extract-erofs.ts';

/** As the node mounts them, or what is seen would not be what the node sees. */
const overlayOptions = 'redirect_dir=off,metacopy=off,index=off,xino=off';
/** Else the superblock, which the node wrote, could ask for a panic of this machine's kernel when it finds an error (ext4(5)). */
const survive = 'errors=remount-ro';
/** What a node wrote is data here and nothing else. */
const dataOnly = 'nodev,nosuid,noexec';

export interface Layers {
  readonly base: string;
  /** On a disk that may be written to. */
  readonly upper: string;
}

export interface MountOptions {
  readonly root: string;
  readonly rootFormat: Image['rootFormat'];
  /** A copy of a node's disk, of which root there wrote every byte; checked, with its journal replayed. */
  readonly disk: string;
  readonly work: string;
  readonly signal: AbortSignal;
}

/** @throws UserError bad-input when the disk is not laid out as a node does it */
export async function mountLayers(options: MountOptions): Promise<Layers> {
  const { root, rootFormat, disk, work, signal } = options;
  const [base, writable] = [join(work, 'base'), join(work, 'disk')];
  await Promise.all([base, writable].map((directory) => mkdir(directory, { recursive: true })));
  await mountRoot(root, rootFormat, base, signal);
  await mountData(['-t', 'ext4', disk, writable], `loop,noatime,${survive}`, { signal });
  await Promise.all(['upper', 'work'].map((name) => requireFolder(writable, name)));
  return { base, upper: join(writable, 'upper') };
}

/** Links are shown and never followed where the kernel sees to it, which is since Linux 5.10 (mount(8), nosymfollow). */
async function mountData(
  args: readonly string[],
  options: string,
  where: { readonly cwd?: string; readonly signal: AbortSignal },
): Promise<void> {
  const mount = (extra: string): Promise<string> => run('mount', [...args, '-o', `${options},${dataOnly}${extra}`], where);
  await mount(',nosymfollow').catch(() => mount(''));
}

/** A link there would make this machine's own files the layer. */
async function requireFolder(disk: string, name: string): Promise<void> {
  if ((await lstatIfThere(join(disk, name)))?.isDirectory() === false) {
    throw new UserError('bad-input', `/${name} of the overlay is not a folder`, {
      hint: 'No node of ours leaves a disk like this; see what wrote to it before the node is trusted again',
    });
  }
}

/** An erofs that this kernel does not know is unpacked, which takes longer and the space of all that is in it. */
async function mountRoot(root: string, format: Image['rootFormat'], base: string, signal: AbortSignal): Promise<void> {
  try {
    await mountData(['-t', format, root, base], 'ro,loop', { signal });
  } catch (cause) {
    if (!/unknown filesystem type/.test(messageOf(cause))) {
      throw cause;
    }
    if (format !== 'erofs') {
      throw new UserError('unavailable', `The kernel of this machine cannot read ${format}, the format of the image's root`, {
        cause,
        hint: `Commit on a server whose kernel can; Debian's kernels do`,
      });
    }
    await extractErofs(root, base, signal);
  }
}

/** What the node sees. Its top is read-only here too, for packing must change nothing. */
export async function mountMerged({ base, upper }: Layers, work: string, signal: AbortSignal): Promise<string> {
  const merged = join(work, 'merged');
  await mkdir(merged, { recursive: true });
  // Relative, as a colon or a comma in the path of the state folder would end the name.
  const lower = [upper, base].map((path) => path.slice(work.length + 1)).join(':');
  await mountData(['-t', 'overlay', 'overlay', merged], `ro,lowerdir=${lower},${overlayOptions}`, { cwd: work, signal });
  return merged;
}

/** Itself, not by way of a link. */
export async function isFolder(path: string): Promise<boolean> {
  return (await lstatIfThere(path))?.isDirectory() ?? false;
}

async function lstatIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') {
      return undefined;
    }
    throw error;
  }
}
