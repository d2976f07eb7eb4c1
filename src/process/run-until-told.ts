/** A program that says when it is ready and goes on until it is told to end, or until we are gone: its stdin closes then. */
import { execa } from 'execa';
import { UserError } from '../domain/errors.ts';

/** Resolves when it printed `ready`. Disposing tells it to end and waits. @throws UserError failed when it ended before that */
export async function runUntilTold(file: string, args: readonly string[], ready: string): Promise<AsyncDisposable> {
  // A group of its own: an interrupt at the terminal is for us alone.
  const child = execa(file, args, { reject: false, all: true, stdin: 'pipe', detached: true, cleanup: false });
  // It may be gone before it is told; how it ended says so.
  child.stdin.on('error', () => {});
  let told = false;
  const ended = child.then((result) => {
    if (!told || result.failed) {
      const said = (result.all ?? '').trim();
      throw new UserError('failed', `${file} ${args.slice(0, 3).join(' ')} ended too early${said === '' ? '' : `:\n${said}`}`);
    }
  });
  ended.catch(() => {});
  const isReady = Promise.withResolvers<void>();
  void (async () => {
    for await (const line of child.iterable({ from: 'stdout' })) {
      if (line === ready) {
        isReady.resolve();
      }
    }
  })().catch(() => {});
  await Promise.race([isReady.promise, ended]);
  return {
    [Symbol.asyncDispose]: async () => {
      told = true;
      child.stdin.end();
      await ended;
    },
  };
}
