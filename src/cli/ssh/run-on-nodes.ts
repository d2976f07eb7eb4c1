/** One program for each node, so many at a time. */
import { foldRange } from '../../domain/fold-range.ts';
import { type StreamOutcome, streamChild } from '../../process/stream-child.ts';

export interface NodeRun {
  readonly name: string;
  readonly outcome: StreamOutcome;
}

export interface RunOnNodesOptions {
  readonly nodes: readonly string[];
  readonly jobs: number;
  readonly signal: AbortSignal;
  readonly timeoutMs?: number;
  readonly command: (node: string) => readonly [string, readonly string[]];
  readonly onOutput: (node: string, stream: 'stdout' | 'stderr', bytes: Buffer) => Promise<void>;
  readonly onEnd?: (node: string) => Promise<void>;
}

/** In the order of the nodes. */
export async function runOnNodes(options: RunOnNodesOptions): Promise<NodeRun[]> {
  const { nodes, jobs, signal, timeoutMs, command, onOutput, onEnd } = options;
  const runs = new Map<string, NodeRun>();
  const waiting = [...nodes];
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

/** As `timeout` of coreutils says it, and as shells say a signal. */
const codes = { 'timed-out': 124, cancelled: 130, signalled: 128, 'spawn-failed': 127 } as const;

export function exitCodeOf(outcome: StreamOutcome): number {
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

function howItFailed(outcome: StreamOutcome): string | undefined {
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
    case 'spawn-failed':
      return outcome.message;
  }
}
