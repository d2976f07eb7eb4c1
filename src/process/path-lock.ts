import { spawn } from 'node:child_process';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { UserError, undefinedIfMissing } from '../domain/errors.ts';

export interface PathLockOptions {
  /** Several may have a shared one. */
  readonly kind: 'shared' | 'exclusive';
  /** Until those who have it give it back; else nothing is locked while there are any. */
  readonly wait: boolean;
  readonly signal?: AbortSignal;
}

/**
 * An advisory lock on a file or folder, which ends with this process, however it ends. flock(1) takes it on a descriptor of
 * ours: a lock belongs to the open file (flock(2)), which both have then. Undefined when nothing is there, also when it was
 * removed or replaced while we waited, or when others have it.
 * @throws UserError cancelled
 */
export async function lockPath(path: string, options: PathLockOptions): Promise<AsyncDisposable | undefined> {
  const handle = await openExisting(path);
  if (!handle) {
    return undefined;
  }
  await using stack = new AsyncDisposableStack();
  stack.defer(() => handle.close());
  if (!(await takeLock(handle, options)) || !(await isAt(handle, path))) {
    return undefined;
  }
  return stack.move();
}

async function openExisting(path: string): Promise<FileHandle | undefined> {
  return await open(path, 'r').catch(undefinedIfMissing);
}

async function takeLock({ fd }: FileHandle, { kind, wait, signal }: PathLockOptions): Promise<boolean> {
  const args = [`--${kind}`, ...(wait ? [] : ['--nonblock']), '0'];
  // execa's types know only the first few descriptors.
  const child = spawn('flock', args, { stdio: [fd, 'ignore', 'inherit'], ...(signal ? { signal } : {}) });
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.once('error', reject);
  child.once('close', resolve);
  const code = await promise.catch((cause: unknown) => {
    throw signal?.aborted ? new UserError('cancelled', 'Waiting for a lock was cancelled', { cause }) : cause;
  });
  // flock(1): 1 is a lock that others have.
  if (code !== 0 && code !== 1) {
    throw new UserError('failed', `flock ended with ${code === null ? 'a signal' : `exit code ${code}`}`);
  }
  return code === 0;
}

async function isAt(handle: FileHandle, path: string): Promise<boolean> {
  const [ours, there] = await Promise.all([handle.stat(), stat(path).catch(undefinedIfMissing)]);
  return there?.ino === ours.ino && there.dev === ours.dev;
}
