/** One program for each node, so many at a time. */
import { foldRange } from '../../domain/fold-range.ts';
import { type StreamOutcome, streamChild } from '../../process/stream-child.ts';

type Outcome = StreamOutcome | { readonly kind: 'no-address' };

export interface NodeRun {
  readonly name: string;
  readonly outcome: Outcome;
}

export interface RunOnNodesOptions {
  readonly nodes: readonly string[];
  readonly jobs: number;
  /** Of these nobody knows yet where they are. */
  readonly unfound?: readonly string[];
  readonly signal: AbortSignal;
  readonly timeoutMs?: number;
  readonly command: (node: string) => readonly [string, readonly string[]];
  readonly onOutput: (node: string, stream: 'stdout' | 'stderr', bytes: Buffer) => Promise<void>;
  readonly onEnd?: (node: string) => Promise<void>;
}

/** In the order of the nodes. */
export async function runOnNodes(options: RunOnNodesOptions): Promise<NodeRun[]> {
  const { nodes, jobs, unfound = [], signal, timeoutMs, command, onOutput, onEnd } = options;
  const runs = new Map<string, NodeRun>(unfound.map((name) => [name, { name, outcome: { kind: 'no-address' } }]));
  const waiting = nodes.filter((name) => !runs.has(name));
  const work = async (): Promise<void> => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const node = name;
      const [file, args] = command(node);
      const outcome = await streamChild(file, args, {
        signal,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
        onStdout: (bytes) => onOutput(node, 'stdout', bytes),
        onStderr: (bytes) => onOutput(node, 'stderr', bytes),
      });
      await onEnd?.(node);
      runs.set(node, { name: node, outcome });
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, nodes.length) }, work));
  return nodes.flatMap((name) => runs.get(name) ?? []);
}

/** As `timeout` of coreutils says it, as shells say a signal, and as ssh says that there is no connection. */
const codes = { 'timed-out': 124, cancelled: 130, signalled: 128, 'spawn-failed': 127, 'no-address': 255 } as const;

export function exitCodeOf(outcome: Outcome): number {
  return outcome.kind === 'exited' ? outcome.exitCode : codes[outcome.kind];
}

export function worstOf(runs: readonly NodeRun[]): number {
  return Math.max(0, ...runs.map(({ outcome }) => exitCodeOf(outcome)));
}

/** A line for each way in which it went wrong. */
export function failureLines(runs: readonly NodeRun[]): string[] {
  const ways = new Map<string, string[]>();
  for (const { name, outcome } of runs) {
    const how = howItFailed(outcome);
    if (how !== undefined) {
      ways.set(how, [...(ways.get(how) ?? []), name]);
    }
  }
  return [...ways].map(([how, names]) => `${foldRange(names)}: ${how}`);
}

function howItFailed(outcome: Outcome): string | undefined {
  switch (outcome.kind) {
    case 'exited':
      // ssh's own code for "no connection"; what it said stands above.
      return outcome.exitCode === 0 ? undefined : `exit code ${outcome.exitCode}${outcome.exitCode === 255 ? ' (ssh)' : ''}`;
    case 'timed-out':
      return 'timed out';
    case 'cancelled':
      return 'cancelled';
    case 'signalled':
      return `ended by ${outcome.signal}`;
    case 'no-address':
      return 'no address is known yet';
    case 'spawn-failed':
      return outcome.message;
  }
}
