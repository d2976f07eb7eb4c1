/** A copy of a disk that may be in use, as it was at one moment. */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { CopiedState } from '../domain/overlay.ts';
import { realPath } from '../process/real-path.ts';
import { copySparse } from './disk-file.ts';

/** Runs `work` while the node holds still. Answers why not, when that was not so from its first to its last moment. */
export type Freeze = (work: () => Promise<void>) => Promise<{ readonly frozenMs: number } | { readonly reason: string }>;

export interface CopyOptions {
  readonly disk: string;
  readonly target: string;
  /** Absent: nobody on the node to ask. */
  readonly freeze?: Freeze;
  /** Nobody writes to the disk until the result is disposed. */
  readonly hold: (disk: string) => Promise<AsyncDisposable>;
  readonly signal?: AbortSignal;
}

export async function copyAtRest({ disk, target, freeze, hold, signal }: CopyOptions): Promise<CopiedState> {
  const copy = (): Promise<void> => copySparse(disk, target, signal);
  if ((await processesWith(disk)).length === 0) {
    await using _held = await hold(disk);
    // Somebody may have come before it was held.
    if ((await processesWith(disk)).length === 0) {
      await copy();
      return { kind: 'unused' };
    }
  }
  const frozen = (await freeze?.(copy)) ?? { reason: 'no agent of the node listens' };
  if ('frozenMs' in frozen) {
    return { kind: 'frozen', frozenMs: frozen.frozenMs };
  }
  signal?.throwIfAborted();
  // Takes every write between two of theirs: the node waits that long for its answers.
  await using _held = await hold(disk);
  await copy();
  return { kind: 'crash-consistent', reason: frozen.reason };
}

/** Those that have a file open for writing. */
export async function processesWith(path: string): Promise<number[]> {
  // The kernel names open files without the links that led to them.
  const file = await realPath(path);
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(pids.map(async (pid) => ((await hasOpen(pid, file)) ? [Number(pid)] : [])));
  return found.flat();
}

async function hasOpen(pid: string, file: string): Promise<boolean> {
  const folder = join('/proc', pid, 'fd');
  // Processes and descriptors come and go while we look.
  for (const descriptor of await readdir(folder).catch(() => [])) {
    const target = await readlink(join(folder, descriptor)).catch(() => '');
    if (target === file && /^flags:\s+0*\d*[12]$/m.test(await readFile(join('/proc', pid, 'fdinfo', descriptor), 'utf8').catch(() => ''))) {
      return true;
    }
  }
  return false;
}
