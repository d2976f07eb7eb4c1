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
    // What programs say is read here, in one language.
    env: { LC_ALL: 'C.UTF-8', ...options.env },
    ...(signal ? { cancelSignal: signal } : {}),
    ...(options.killSignal ? { killSignal: options.killSignal } : {}),
  });
  if (onLine) {
    for await (const line of child.iterable({ from: 'all' })) {
      onLine(line);
    }
  }
  const result = await child;
  const [program, rest] = withoutWrappers(file, args);
  if (result.isCanceled) {
    throw new UserError('cancelled', `${program} was cancelled`);
  }
  if (result.failed && !(result.exitCode !== undefined && options.okCodes?.includes(result.exitCode))) {
    if (result.code === 'ENOENT' || (program !== file && wrapperMissedIt.test(result.all ?? ''))) {
      throw new UserError('not-found', `The program ${program} is not installed`, {
        hint: 'sudo ./cardless setup installs what is missing',
      });
    }
    const said = (result.all ?? '').split('\n').slice(-8).join('\n').trim();
    const how =
      result.exitCode === undefined ? (result.signal ?? result.originalMessage ?? 'could not run') : `exit code ${result.exitCode}`;
    const code = /No space left on device/.test(said) ? 'no-space' : 'failed';
    throw new UserError(code, `${program} ${rest.slice(0, 3).join(' ')} failed (${how})${said === '' ? '' : `:\n${said}`}`);
  }
  return result.stdout;
}

/** How many arguments of its own each has before those of the program that it runs. */
const wrappers: Readonly<Record<string, number>> = { nice: 2, setpriv: 2 };
/** What they say when there is no such program. */
const wrapperMissedIt = /^(nice|setpriv): .*No such file or directory$/m;

function withoutWrappers(file: string, args: readonly string[]): [string, readonly string[]] {
  const own = wrappers[file];
  const inner = own === undefined ? undefined : args[own];
  return own === undefined || inner === undefined ? [file, args] : withoutWrappers(inner, args.slice(own + 1));
}

/** Arguments that run a program which ends when we do, even by kill -9: what comes after us must not find it at work. */
export function mortalCommand(file: string, args: readonly string[]): readonly [string, readonly string[]] {
  return ['setpriv', ['--pdeathsig', 'KILL', file, ...args]];
}

/** Arguments that run a program which gives way to whatever answers boards. */
export function politeCommand(file: string, args: readonly string[]): readonly [string, readonly string[]] {
  return ['nice', ['-n', '10', file, ...args]];
}

/**
 * Arguments that run a program, politely, in mount and process name spaces of its own, which end with us: even after a kill -9
 * no process, mount or half-made file system of it is left behind.
 */
export function containedCommand(file: string, args: readonly string[]): readonly [string, readonly string[]] {
  return mortalCommand(...politeCommand('unshare', ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc', file, ...args]));
}
