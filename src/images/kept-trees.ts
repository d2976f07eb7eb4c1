/**
 * Built trees in the cache, which several servers may share. Who uses a tree has a shared lock on its folder; only who has
 * an exclusive one removes or replaces it.
 */
import { randomBytes } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode, undefinedIfMissing } from '../domain/errors.ts';
import { lockPath } from '../process/path-lock.ts';
import { renameDurably } from '../process/rename-durably.ts';
import type { RootFormat } from './pack-root.ts';

const unusedAfterMs = 30 * 24 * 3_600_000;

/** Where it is, the tree is whole. Its time is that of the last use. */
export const partsFile = 'parts.json';

export interface TreeFacts {
  readonly kernelVersion: string;
  readonly rootFormat: RootFormat;
}

/** Nobody removes it before it is disposed of. */
export interface TreeParts extends TreeFacts, AsyncDisposable {
  /** root.img, vmlinuz, modules/, parts.json; on boards' architectures dtbs/, overlays/, firmware/ */
  readonly directory: string;
}

export interface OldTree {
  readonly name: string;
  readonly bytes: number;
  readonly usedAt: Date;
}

interface TreePlace {
  readonly cache: string;
  readonly name: string;
  readonly now: Date;
  readonly signal: AbortSignal;
}

/** Undefined when there is none, or the cache was cleaned half-way. */
export async function takeTree({ cache, name, now, signal }: TreePlace): Promise<TreeParts | undefined> {
  const directory = join(cache, 'trees', name);
  await using stack = new AsyncDisposableStack();
  // Who has it exclusively removes it, and is soon done.
  const lock = stack.use(await lockPath(directory, { kind: 'shared', wait: true, signal }));
  const text = lock && (await readFile(join(directory, partsFile), 'utf8').catch(undefinedIfMissing));
  if (text === undefined) {
    return undefined;
  }
  await utimes(join(directory, partsFile), now, now);
  return treeParts(directory, JSON.parse(text) as TreeFacts, stack.move());
}

/** Moves a finished folder into the cache, in place of an earlier one when nobody uses that any more. */
export async function keepTree(finished: string, facts: TreeFacts, { cache, name, signal }: Omit<TreePlace, 'now'>): Promise<TreeParts> {
  const trees = join(cache, 'trees');
  const directory = join(trees, name);
  await mkdir(trees, { recursive: true });
  await using stack = new AsyncDisposableStack();
  const source = await ontoSameDisk(finished, trees, stack);
  // A lock is the folder's, whatever its name: nobody can come between.
  stack.use(await lockPath(source, { kind: 'shared', wait: false }));
  while (!(await renamed(source, directory))) {
    await using earlier = await lockPath(directory, { kind: 'exclusive', wait: true, signal });
    if (earlier) {
      await removeTree(directory);
    }
  }
  return treeParts(directory, facts, stack.move());
}

/** Those that no build used for 30 days and none uses now. */
export async function removeOldTrees(cache: string, now: Date): Promise<OldTree[]> {
  return await eachOldTree(cache, now, async (tree) => {
    const directory = join(cache, 'trees', tree.name);
    await using lock = await lockPath(directory, { kind: 'exclusive', wait: false });
    // Somebody may have used it since we looked.
    if (!lock || !isOld(await lastUse(directory), now)) {
      return false;
    }
    await removeTree(directory);
    return true;
  });
}

/** What removeOldTrees would remove, but for those in use. */
export async function findOldTrees(cache: string, now: Date): Promise<OldTree[]> {
  return await eachOldTree(cache, now, () => Promise.resolve(true));
}

async function eachOldTree(cache: string, now: Date, counts: (tree: OldTree) => Promise<boolean>): Promise<OldTree[]> {
  const found: OldTree[] = [];
  for (const name of (await readdir(join(cache, 'trees')).catch(undefinedIfMissing)) ?? []) {
    const directory = join(cache, 'trees', name);
    const usedAt = await lastUse(directory);
    if (usedAt === undefined || !isOld(usedAt, now)) {
      continue;
    }
    // Another server that has this cache may be removing it.
    const bytes = await bytesOf(directory).catch(undefinedIfMissing);
    if (bytes !== undefined && (await counts({ name, bytes, usedAt }))) {
      found.push({ name, bytes, usedAt });
    }
  }
  return found;
}

function isOld(usedAt: Date | undefined, now: Date): boolean {
  return usedAt !== undefined && now.getTime() - usedAt.getTime() > unusedAfterMs;
}

/** Of what was never finished, when it was begun. */
async function lastUse(directory: string): Promise<Date | undefined> {
  const itself = await stat(directory).catch(undefinedIfMissing);
  // A plain file is no tree of ours, and none to be removed.
  if (!itself?.isDirectory()) {
    return undefined;
  }
  const used = await stat(join(directory, partsFile)).catch(undefinedIfMissing);
  return (used ?? itself).mtime;
}

async function bytesOf(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  let bytes = 0;
  for (const entry of entries.filter((one) => one.isFile())) {
    bytes += (await stat(join(entry.parentPath, entry.name))).size;
  }
  return bytes;
}

async function removeTree(directory: string): Promise<void> {
  // First of all, for it says that the others are whole.
  await rm(join(directory, partsFile), { force: true });
  // Under another name: a folder that is nearly gone is empty, and another tree could be renamed onto it.
  const grave = `${directory}.removed-${randomBytes(6).toString('hex')}`;
  await rename(directory, grave);
  await rm(grave, { recursive: true });
}

async function renamed(from: string, to: string): Promise<boolean> {
  try {
    await renameDurably(from, to);
    return true;
  } catch (error) {
    if (systemCode(error) !== 'ENOTEMPTY' && systemCode(error) !== 'EEXIST') {
      throw error;
    }
    return false;
  }
}

/** Itself, or a copy when the cache is on another file system. */
async function ontoSameDisk(finished: string, trees: string, stack: AsyncDisposableStack): Promise<string> {
  const [from, to] = await Promise.all([stat(finished), stat(trees)]);
  if (from.dev === to.dev) {
    return finished;
  }
  const copy = await mkdtemp(join(trees, 'copy-'));
  // When it has become the tree it has another name.
  stack.defer(() => rm(copy, { recursive: true, force: true }));
  await cp(finished, copy, { recursive: true });
  return copy;
}

function treeParts(directory: string, { kernelVersion, rootFormat }: TreeFacts, lock: AsyncDisposable): TreeParts {
  return { directory, kernelVersion, rootFormat, [Symbol.asyncDispose]: async () => await lock[Symbol.asyncDispose]() };
}
