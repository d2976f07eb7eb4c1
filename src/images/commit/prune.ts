/** Takes what is left out of a commit out of the layer, so that the image's own version is seen again. */
import { chmod, lchown, lstat, readdir, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UserError } from '../../domain/errors.ts';
import { run } from '../../process/run.ts';
import { lstatIfThere } from '../tree-access.ts';
import type { Change } from './change.ts';
import type { Diff } from './diff.ts';
import { parentOf } from './selection.ts';
import { readXattrs } from './xattrs.ts';

export interface PruneOptions {
  readonly base: string;
  /** A copy of the node's layer: this one is changed. */
  readonly upper: string;
  readonly opaque: Diff['opaque'];
  readonly signal: AbortSignal;
}

export async function prune(leftOut: readonly Change[], options: PruneOptions): Promise<void> {
  // What is in a folder comes before the folder.
  for (const change of leftOut.toReversed()) {
    await restore(change, options);
  }
}

async function restore(change: Change, options: PruneOptions): Promise<void> {
  const { base, upper, opaque, signal } = options;
  const { path } = change;
  const target = join(upper, path);
  await requireFoldersAbove(upper, path);
  const isSameFolder = change.type === 'directory' && change.change === 'changed' && !change.what.includes('type');
  if (isSameFolder) {
    // An opaque one stays, for it still hides what was removed from it.
    if (opaque.has(path) || !(await removeEmpty(target))) {
      await restoreAttributes(join(base, path), target, signal);
    }
    return;
  }
  await rm(target, { recursive: true, force: true });
  const isHidden = [...opaque].some((folder) => folder === '' || path.startsWith(`${folder}/`));
  if (change.change !== 'added' && isHidden && (await lstatIfThere(dirname(target)))) {
    await run('cp', ['--archive', '--no-target-directory', '--', join(base, path), target], { signal });
  }
}

/** A link on the way would lead out of the layer, into this machine's own files. @throws UserError bad-input */
async function requireFoldersAbove(upper: string, path: string): Promise<void> {
  for (let parent = parentOf(path); parent !== '/'; parent = parentOf(parent)) {
    const stats = await lstatIfThere(join(upper, parent));
    if (stats && !stats.isDirectory()) {
      throw new UserError('bad-input', `${parent} of the overlay is not a folder, so ${path} is not in it`);
    }
  }
}

async function removeEmpty(folder: string): Promise<boolean> {
  if ((await readdir(folder)).length > 0) {
    return false;
  }
  await rmdir(folder);
  return true;
}

async function restoreAttributes(from: string, to: string, signal: AbortSignal): Promise<void> {
  const { mode, uid, gid } = await lstat(from);
  await lchown(to, uid, gid);
  await chmod(to, mode & 0o7777);
  const all = await readXattrs([from, to], signal);
  const [wanted, found] = [all.get(from) ?? new Map<string, string>(), all.get(to) ?? new Map<string, string>()];
  for (const name of found.keys()) {
    if (!wanted.has(name) && !name.startsWith('trusted.overlay.')) {
      await run('setfattr', ['-h', '-x', name, '--', to], { signal });
    }
  }
  for (const [name, value] of wanted) {
    await run('setfattr', ['-h', '-n', name, '-v', value, '--', to], { signal });
  }
}
