/** The tree of an erofs image where the kernel cannot mount one. */
import { chmod, link, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../process/run.ts';
import { type ErofsEntry, readErofs } from './erofs-metadata.ts';

const symlinkType = 0o120000;

/** `target` must not be there, or be empty. */
export async function extractErofs(image: string, target: string, signal: AbortSignal): Promise<void> {
  await run('fsck.erofs', [`--extract=${target}`, '--preserve', image], { signal });
  await using file = await open(image);
  await restoreLost(await readErofs(file), target, signal);
}

/**
 * fsck.erofs 1.5 leaves out what follows: hard links become copies, setuid bits go when the owner is set, and extended
 * attributes are not written at all.
 */
async function restoreLost(entries: readonly ErofsEntry[], target: string, signal: AbortSignal): Promise<void> {
  const first = new Map<number, string>();
  for (const { path, nid, mode, xattrs } of entries) {
    signal.throwIfAborted();
    const file = join(target, path);
    const other = first.get(nid);
    if (other !== undefined) {
      const made = `${file}.linked`;
      await link(other, made);
      await rename(made, file);
      continue;
    }
    first.set(nid, file);
    if ((mode & 0o7000) !== 0 && (mode & 0o170000) !== symlinkType) {
      await chmod(file, mode & 0o7777);
    }
    for (const [name, value] of xattrs) {
      await run('setfattr', ['-h', '-n', name, '-v', value, '--', file], { signal });
    }
  }
}
