/** A child whose output is bytes: handed on as it comes, and no faster than it is taken. */
import { execa } from 'execa';
import { signalProcess } from './signal.ts';

export type StreamOutcome =
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'signalled'; readonly signal: string }
  | { readonly kind: 'timed-out' }
  | { readonly kind: 'cancelled' }
  | { readonly kind: 'spawn-failed'; readonly message: string };

export interface StreamOptions {
  readonly onStdout: (bytes: Buffer) => Promise<void>;
  readonly onStderr: (bytes: Buffer) => Promise<void>;
  readonly signal: AbortSignal;
  readonly timeoutMs?: number;
  /** It has none at all, where it would otherwise stay open and empty until the end. */
  readonly noStdin?: boolean;
}

const graceMs = 3000;

/** A group of its own: an interrupt at the terminal is for us alone. */
export async function streamChild(file: string, args: readonly string[], options: StreamOptions): Promise<StreamOutcome> {
  const { signal, timeoutMs } = options;
  if (signal.aborted) {
    return { kind: 'cancelled' };
  }
  const child = execa(file, args, {
    reject: false,
    buffer: false,
    encoding: 'buffer',
    stdin: options.noStdin ? 'ignore' : 'pipe',
    detached: true,
  });
  child.stdin?.on('error', () => {});
  let why: 'timed-out' | 'cancelled' | undefined;
  let lastResort: NodeJS.Timeout | undefined;
  const end = (reason: 'timed-out' | 'cancelled'): void => {
    why ??= reason;
    signalGroup(child.pid, 'SIGTERM');
    lastResort ??= setTimeout(() => signalGroup(child.pid, 'SIGKILL'), graceMs);
  };
  const cancel = (): void => end('cancelled');
  signal.addEventListener('abort', cancel, { once: true });
  const timer = timeoutMs === undefined ? undefined : setTimeout(() => end('timed-out'), timeoutMs);
  try {
    const [result] = await Promise.all([child, passOn(child.stdout, options.onStdout), passOn(child.stderr, options.onStderr)]);
    if (why !== undefined) {
      return { kind: why };
    }
    if (result.exitCode !== undefined) {
      return { kind: 'exited', exitCode: result.exitCode };
    }
    return result.signal === undefined
      ? { kind: 'spawn-failed', message: result.originalMessage ?? 'could not be started' }
      : { kind: 'signalled', signal: result.signal };
  } finally {
    clearTimeout(timer);
    clearTimeout(lastResort);
    signal.removeEventListener('abort', cancel);
  }
}

async function passOn(stream: AsyncIterable<unknown>, take: (bytes: Buffer) => Promise<void>): Promise<void> {
  try {
    for await (const chunk of stream) {
      await take(Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk as Uint8Array));
    }
  } catch {
    // The stream breaks when the child could not be started; how it ended says so.
  }
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid !== undefined) {
    signalProcess(-pid, signal);
  }
}
