/** A server that takes part: started on its segment, its processor time on an account of its own. */
import { type Child, startChild } from '../../process/supervise.ts';
import { insideNamespace } from '../../sim/lab.ts';
import type { Segment } from './bench-network.ts';
import { CpuAccount } from './cpu-time.ts';

const stopGraceMs = 20_000;
const linesKept = 20;

export interface Contender extends AsyncDisposable {
  readonly name: string;
  readonly segment: Segment;
  /** Spent since it was started; NaN where that cannot be told. */
  cpuSeconds(): Promise<number>;
  /** What its processes have at this moment; NaN where that cannot be told. */
  memoryBytes(): Promise<number>;
}

export interface ContenderOptions {
  readonly name: string;
  readonly segment: Segment;
  readonly command: readonly [string, readonly string[]];
  /** Resolves when it serves. @throws when it never will */
  readonly untilReady: (child: Child, said: readonly string[]) => Promise<void>;
}

/**
 * Servers and load clients alike go before other work on this machine, which would else be measured with them. Where the
 * kernel groups processes by session (sched(7), autogroup), a group's nice value is what counts.
 */
export function preferred([file, args]: readonly [string, readonly string[]]): readonly [string, readonly string[]] {
  const script = 'echo -15 2>/dev/null >/proc/self/autogroup; exec nice -n -15 "$@"';
  return ['sh', ['-c', script, 'sh', file, ...args]];
}

export async function startContender({ name, segment, command, untilReady }: ContenderOptions): Promise<Contender> {
  await using stack = new AsyncDisposableStack();
  const account = stack.use(await CpuAccount.open(`${name}-${segment.server}`));
  const said: string[] = [];
  const onLine = (line: string): void => {
    said.push(line);
    said.splice(0, said.length - linesKept);
  };
  const [file, args] = account.charge(preferred(insideNamespace(segment.namespace, ...command)));
  const child = stack.use(startChild(file, args, { graceMs: stopGraceMs, onLine }));
  await untilReady(child, said);
  const owned = stack.move();
  return {
    name,
    segment,
    cpuSeconds: () => account.seconds(),
    memoryBytes: () => account.memoryBytes(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
