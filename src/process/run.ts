import { execa } from 'execa';
import { UserError } from '../domain/errors.ts';

export interface RunOptions {
  readonly cwd?: string;
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** What `signal` sends; SIGTERM, and SIGKILL five seconds later, when it is absent. */
  readonly killSignal?: 'SIGKILL';
  /** Exit codes that are no failure; 0 alone when absent. */
  readonly okCodes?: readonly number[];
  /** Each line of stdout and stderr as it comes. */
  readonly onLine?: (line: string) => void;
}

/**
 * Runs a program to its end and gives its stdout without the last newline.
 * @throws UserError cancelled, not-found (no such program) or failed (with the last lines it printed)
 */
export async function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { signal, onLine } = options;
  const child = execa(file, args, {
    reject: false,
    all: true,
    stdin: options.input === undefined ? 'ignore' : 'pipe',
    maxBuffer: 64 * 1024 * 1024,
    ...(options.input === undefined ? {} : { input: options.input }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: { ...options.env } }),
    ...(signal ? { cancelSignal: signal } : {}),
    ...(options.killSignal ? { killSignal: options.killSignal } : {}),
  });
  if (onLine) {
    for await (const line of child.iterable({ from: 'all' })) {
      onLine(line);
    }
  }
  const result = await child;
  if (result.isCanceled) {
    throw new UserError('cancelled', `${file} was cancelled`);
  }
  if (result.failed && !(result.exitCode !== undefined && options.okCodes?.includes(result.exitCode))) {
    if (result.code === 'ENOENT') {
      throw new UserError('not-found', `The program ${file} is not installed`, { hint: 'sudo ./cardless setup installs what is missing' });
    }
    const said = (result.all ?? '').split('\n').slice(-8).join('\n').trim();
    const how =
      result.exitCode === undefined ? (result.signal ?? result.originalMessage ?? 'could not run') : `exit code ${result.exitCode}`;
    const code = /No space left on device/.test(said) ? 'no-space' : 'failed';
    throw new UserError(code, `${file} ${args.slice(0, 3).join(' ')} failed (${how})${said === '' ? '' : `:\n${said}`}`);
  }
  return result.stdout;
}

/** Arguments that run a program which ends when we do, even by kill -9: what comes after us must not find it at work. */
export function mortalCommand(file: string, args: readonly string[]): readonly [string, readonly string[]] {
  return ['setpriv', ['--pdeathsig', 'KILL', file, ...args]];
}

/**
 * Arguments that run a program in mount and process name spaces of its own, which end with us: even after a kill -9
 * no process, mount or half-made file system of it is left behind.
 */
export function containedCommand(file: string, args: readonly string[]): readonly [string, readonly string[]] {
  return mortalCommand('unshare', ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', file, ...args]);
}
