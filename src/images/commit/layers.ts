/** Mounts of a commit. They are made in mount name spaces of its own, with which they end (process/run.ts). */
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, systemCode, UserError } from '../../domain/errors.ts';
import type { Image } from '../../domain/image.ts';
import { run } from '../../process/run.ts';
import { extractErofs } from './extract-erofs.ts';

/** As the node mounts them, or what is seen would not be what the node sees. */
const overlayOptions = 'redirect_dir=off,metacopy=off,index=off,xino=off';

export interface Layers {
  readonly base: string;
  /** On a disk that may be written to. */
  readonly upper: string;
}

export interface MountOptions {
  readonly root: string;
  readonly rootFormat: Image['rootFormat'];
  /** A copy of a node's disk; its journal is replayed. */
  readonly disk: string;
  readonly work: string;
  readonly signal: AbortSignal;
}

export async function mountLayers(options: MountOptions): Promise<Layers> {
  const { root, rootFormat, disk, work, signal } = options;
  const [base, writable] = [join(work, 'base'), join(work, 'disk')];
  await Promise.all([base, writable].map((directory) => mkdir(directory, { recursive: true })));
  await mountRoot(root, rootFormat, base, signal);
  await repair(disk, signal);
  await run('mount', ['-t', 'ext4', '-o', 'loop,noatime', disk, writable], { signal });
  return { base, upper: join(writable, 'upper') };
}

/** An erofs that this kernel does not know is unpacked, which takes longer and the space of all that is in it. */
async function mountRoot(root: string, format: Image['rootFormat'], base: string, signal: AbortSignal): Promise<void> {
  try {
    await run('mount', ['-t', format, '-o', 'ro,loop', root, base], { signal });
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

/** e2fsck ends with 1 when it replayed the journal or mended something: then a second run finds nothing more to do. */
async function repair(disk: string, signal: AbortSignal): Promise<void> {
  const check = (): Promise<string> => run('e2fsck', ['-p', disk], { signal });
  await check().catch(check);
}

/** What the node sees. Its top is read-only here too, for packing must change nothing. */
export async function mountMerged({ base, upper }: Layers, work: string, signal: AbortSignal): Promise<string> {
  const merged = join(work, 'merged');
  await mkdir(merged, { recursive: true });
  // Relative, as a colon or a comma in the path of the state folder would end the name.
  const lower = [upper, base].map((path) => path.slice(work.length + 1)).join(':');
  await run('mount', ['-t', 'overlay', 'overlay', '-o', `ro,lowerdir=${lower},${overlayOptions}`, merged], { cwd: work, signal });
  return merged;
}

export async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') {
      return false;
    }
    throw error;
  }
}
