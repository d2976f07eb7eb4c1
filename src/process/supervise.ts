/** A child that lives as long as we do: own process group, lines logged, SIGTERM, grace, SIGKILL. */
import { execa } from 'execa';
import { signalProcess } from './signal.ts';

export type ChildOutcome =
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'signalled'; readonly signal: string }
  | { readonly kind: 'killed-after-grace' }
  | { readonly kind: 'spawn-failed'; readonly message: string };

export interface ChildOptions {
  readonly graceMs: number;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly onLine?: (line: string) => void;
}

export interface Child extends AsyncDisposable {
  readonly pid: number | undefined;
  readonly ended: Promise<ChildOutcome>;
  /** Idempotent. Resolves when the child is gone. */
  stop(): Promise<ChildOutcome>;
  /** Lets go of it: it does not keep us from ending, and goes on when we have ended. */
  release(): void;
}

export function startChild(file: string, args: readonly string[], options: ChildOptions): Child {
  const child = execa(file, args, {
    reject: false,
    all: true,
    buffer: false,
    detached: true,
    stdin: 'ignore',
    cleanup: true,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: { ...options.env } }),
  });
  void readLines(child, options.onLine);
  let killed = false;
  const ended: Promise<ChildOutcome> = child.then((result) => {
    if (killed) {
      return { kind: 'killed-after-grace' };
    }
    if (result.exitCode !== undefined) {
      return { kind: 'exited', exitCode: result.exitCode };
    }
    return result.signal === undefined
      ? { kind: 'spawn-failed', message: result.originalMessage ?? 'could not be started' }
      : { kind: 'signalled', signal: result.signal };
  });
  let stopping: Promise<ChildOutcome> | undefined;
  const stop = (): Promise<ChildOutcome> => {
    stopping ??= (async (): Promise<ChildOutcome> => {
      signalGroup(child.pid, 'SIGTERM');
      const timer = setTimeout(() => {
        killed = true;
        signalGroup(child.pid, 'SIGKILL');
      }, options.graceMs);
      const outcome = await ended;
      clearTimeout(timer);
      return outcome;
    })();
    return stopping;
  };
  return {
    pid: child.pid,
    ended,
    stop,
    release: () => {
      child.nodeChildProcess.unref();
      child.stdout.destroy();
      child.stderr.destroy();
      child.all.destroy();
    },
    [Symbol.asyncDispose]: async () => {
      await stop();
    },
  };
}

async function readLines(
  child: { iterable(options: { from: 'all' }): AsyncIterable<string> },
  onLine: ((line: string) => void) | undefined,
): Promise<void> {
  try {
    for await (const line of child.iterable({ from: 'all' })) {
      onLine?.(line);
    }
  } catch {
    // The iteration throws how the child ended; `ended` tells the same.
  }
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid !== undefined) {
    signalProcess(-pid, signal);
  }
}
