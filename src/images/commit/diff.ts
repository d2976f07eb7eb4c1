/**
 * Reads what a node changed out of the upper layer of its overlay (Documentation/filesystems/overlayfs.rst of Linux):
 * a character device 0:0 there hides a name of the image, `trusted.overlay.opaque` hides all that the image has in a
 * folder, and whatever was only touched was copied up unchanged.
 */
import { isUtf8 } from 'node:buffer';
import type { Stats } from 'node:fs';
import { type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../domain/errors.ts';
import { run } from '../../process/run.ts';
import { nameText } from '../name-text.ts';
import { lstatIfThere } from '../tree-access.ts';
import type { Aspect, Change, EntryType } from './change.ts';
import { readXattrs, readXattrsBelow, type Xattrs } from './xattrs.ts';

export interface DiffOptions {
  /** The image's root. */
  readonly base: string;
  readonly upper: string;
  readonly signal: AbortSignal;
  readonly onPath?: (path: string) => void;
}

export interface Diff {
  /** In order of path. */
  readonly changes: readonly Change[];
  /** Folders in which nothing of the image is to be seen. */
  readonly opaque: ReadonlySet<string>;
}

interface Pair {
  readonly path: string;
  readonly upper: Stats;
  /** Of the image, where the upper layer does not hide it. */
  readonly base: Stats | undefined;
}

const overlayPrefix = 'trusted.overlay.';
const opaqueName = `${overlayPrefix}opaque`;
const capabilityName = 'security.capability';

/** @throws UserError failed when the layer cannot be read on its own */
export async function readDiff(options: DiffOptions): Promise<Diff> {
  const xattrs = await readXattrsBelow(options.upper, options.signal);
  refuseForeignLayer(xattrs, options.upper);
  const walk = new Walk(options, xattrs);
  await walk.folder('', true);
  return { changes: await walk.finish(), opaque: walk.opaque };
}

/** Our nodes mount with redirect_dir and metacopy off, so such a layer was written by something else. */
function refuseForeignLayer(xattrs: Xattrs, upper: string): void {
  for (const [path, names] of xattrs) {
    const foreign = ['redirect', 'metacopy'].find((name) => names.has(`${overlayPrefix}${name}`));
    if (foreign !== undefined) {
      throw new UserError('failed', `${path.slice(upper.length)} in the overlay refers to another name (trusted.overlay.${foreign})`, {
        hint: 'The overlay was mounted with other options than those of a node; commit what a node itself has written',
      });
    }
  }
}

class Walk {
  readonly opaque = new Set<string>();
  readonly #options: DiffOptions;
  readonly #xattrs: Xattrs;
  readonly #changes: Change[] = [];
  /** On both sides and of the same type; what they differ in is found out at the end. */
  readonly #pairs: Pair[] = [];
  readonly #links = new Map<string, string>();

  constructor(options: DiffOptions, xattrs: Xattrs) {
    this.#options = options;
    this.#xattrs = xattrs;
  }

  /** @param hasBase whether the image has a folder of this name, and nothing but opaqueness hides it */
  async folder(path: string, hasBase: boolean): Promise<void> {
    const { upper, base, signal, onPath } = this.#options;
    signal.throwIfAborted();
    onPath?.(path);
    const names = (await namesIn(upper, path)).toSorted();
    const isOpaque = this.#xattrs.get(join(upper, path))?.get(opaqueName) === '0x79';
    if (isOpaque && hasBase) {
      this.opaque.add(path);
    }
    for (const name of names) {
      await this.#entry(`${path}/${name}`, hasBase);
    }
    if (isOpaque && hasBase) {
      const there = new Set(names);
      for (const name of (await namesIn(base, path)).filter((candidate) => !there.has(candidate))) {
        await this.#removed(`${path}/${name}`, await lstat(join(base, path, name)));
      }
    }
  }

  async #entry(path: string, hasBase: boolean): Promise<void> {
    const { upper, base } = this.#options;
    const now = await lstat(join(upper, path));
    const before = hasBase ? await lstatIfThere(join(base, path)) : undefined;
    if (isWhiteout(now)) {
      await (before && this.#removed(path, before));
      return;
    }
    const type = typeOf(now);
    const common = { path, type, ...(type === 'file' ? { bytes: now.size } : {}), ...this.#linkOf(path, now) };
    if (!before) {
      this.#changes.push({ ...common, change: 'added', what: [] });
    } else if (typeOf(before) !== type) {
      const below = await this.#countBelow(path, before);
      this.#changes.push({ ...common, change: 'changed', before: typeOf(before), what: ['type'], ...below });
    } else {
      this.#pairs.push({ path, upper: now, base: before });
    }
    if (type === 'directory') {
      await this.folder(path, before?.isDirectory() ?? false);
    }
  }

  async #removed(path: string, before: Stats): Promise<void> {
    this.#changes.push({ path, change: 'removed', type: typeOf(before), what: [], ...(await this.#countBelow(path, before)) });
  }

  async #countBelow(path: string, before: Stats): Promise<{ below?: number }> {
    if (!before.isDirectory()) {
      return {};
    }
    const { base, signal } = this.#options;
    // Not by Node, which cannot go into folders whose names are no UTF-8.
    return { below: (await run('find', [join(base, path), '-mindepth', '1', '-printf', '.'], { signal })).length };
  }

  /** Names of one file are told by its inode number: the layer is one file system. */
  #linkOf(path: string, stats: Stats): { linkTo?: string } {
    if (stats.isDirectory() || stats.nlink < 2) {
      return {};
    }
    const key = `${stats.dev}:${stats.ino}`;
    const first = this.#links.get(key);
    if (first === undefined) {
      this.#links.set(key, path);
      return {};
    }
    return { linkTo: first };
  }

  async finish(): Promise<Change[]> {
    const { base, upper, signal } = this.#options;
    const before = await readXattrs(
      this.#pairs.map(({ path }) => join(base, path)),
      signal,
    );
    for (const pair of this.#pairs) {
      signal.throwIfAborted();
      const names = changedXattrs(before.get(join(base, pair.path)), this.#xattrs.get(join(upper, pair.path)));
      const what = [...(await this.#differences(pair)), ...names];
      if (what.length > 0) {
        const type = typeOf(pair.upper);
        const bytes = type === 'file' ? { bytes: pair.upper.size } : {};
        this.#changes.push({ path: pair.path, change: 'changed', type, what, ...bytes });
      }
    }
    return this.#changes.toSorted((a, b) => compareText(a.path, b.path));
  }

  async #differences({ path, upper, base }: Pair): Promise<Aspect[]> {
    const [ours, theirs] = [join(this.#options.upper, path), join(this.#options.base, path)];
    const what: Aspect[] = [];
    if (upper.isFile() && (upper.size !== base?.size || !(await isSameContent(ours, theirs)))) {
      what.push('content');
    }
    if (upper.isSymbolicLink() && (await readlink(ours)) !== (await readlink(theirs))) {
      what.push('target');
    }
    if ((upper.isCharacterDevice() || upper.isBlockDevice()) && (upper.rdev !== base?.rdev || kindOf(upper) !== kindOf(base))) {
      what.push('device');
    }
    if (!upper.isSymbolicLink() && (upper.mode & 0o7777) !== ((base?.mode ?? 0) & 0o7777)) {
      what.push('mode');
    }
    if (upper.uid !== base?.uid || upper.gid !== base.gid) {
      what.push('owner');
    }
    return what;
  }
}

function changedXattrs(before: ReadonlyMap<string, string> = new Map(), now: ReadonlyMap<string, string> = new Map()): Aspect[] {
  const names = new Set([...before.keys(), ...now.keys()].filter((name) => !name.startsWith(overlayPrefix)));
  const changed = [...names].filter((name) => before.get(name) !== now.get(name));
  return [
    ...(changed.includes(capabilityName) ? (['capabilities'] as const) : []),
    ...(changed.some((name) => name !== capabilityName) ? (['xattrs'] as const) : []),
  ];
}

/** Whatever becomes of a change is done by its path as text. @throws UserError bad-input for a name that is none */
async function namesIn(layer: string, path: string): Promise<string[]> {
  const names = await readdir(join(layer, path), { encoding: 'buffer' });
  const bad = names.find((name) => !isUtf8(name));
  if (bad !== undefined) {
    throw new UserError('bad-input', `The name of ${path}/${nameText(bad)} is not UTF-8, and only such names can be committed`, {
      hint: 'Rename it on the node, for example with convmv -f latin1 -t utf8, or delete it',
    });
  }
  return names.map((name) => name.toString());
}

function isWhiteout(stats: Stats): boolean {
  return stats.isCharacterDevice() && stats.rdev === 0;
}

function kindOf(stats: Stats): number {
  return stats.mode & 0o170000;
}

function typeOf(stats: Stats): EntryType {
  if (stats.isDirectory()) {
    return 'directory';
  }
  if (stats.isSymbolicLink()) {
    return 'symlink';
  }
  if (stats.isFile()) {
    return 'file';
  }
  if (stats.isFIFO()) {
    return 'fifo';
  }
  return stats.isSocket() ? 'socket' : 'device';
}

async function isSameContent(one: string, other: string): Promise<boolean> {
  await using first = await open(one);
  await using second = await open(other);
  const size = 1 << 18;
  const [a, b] = [Buffer.allocUnsafe(size), Buffer.allocUnsafe(size)];
  for (;;) {
    const [inA, inB] = await Promise.all([fill(first, a), fill(second, b)]);
    if (inA !== inB || !a.subarray(0, inA).equals(b.subarray(0, inB))) {
      return false;
    }
    if (inA === 0) {
      return true;
    }
  }
}

/** A read may give less than there is. */
async function fill(file: FileHandle, buffer: Buffer): Promise<number> {
  let filled = 0;
  for (let last = -1; last !== 0 && filled < buffer.length; filled += last) {
    ({ bytesRead: last } = await file.read(buffer, filled, buffer.length - filled));
  }
  return filled;
}

/** By character codes, so that a folder comes right before what is in it. */
function compareText(a: string, b: string): number {
  const [one, other] = [a.replaceAll('/', '\0'), b.replaceAll('/', '\0')];
  if (one === other) {
    return 0;
  }
  return one < other ? -1 : 1;
}
