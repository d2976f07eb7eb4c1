/** Commands on many nodes at once, by ssh. */

import { isUtf8 } from 'node:buffer';
import type { Command } from 'commander';
import { parseDuration } from '../domain/duration.ts';
import { UserError } from '../domain/errors.ts';
import type { Context } from './context.ts';
import { nodeSetHelp } from './node/node-view.ts';
import { collate, PrefixedLines } from './ssh/lines.ts';
import { writeOutput } from './ssh/output.ts';
import { remoteCommand } from './ssh/remote-command.ts';
import { exitCodeOf, failureLines, type NodeRun, type RunOnNodesOptions, runOnNodes, worstOf } from './ssh/run-on-nodes.ts';
import { openSshSession } from './ssh/ssh-access.ts';

interface ExecOptions {
  readonly user: string;
  readonly jobs: string;
  readonly timeout?: string;
  readonly collate?: boolean;
}

/** BOUNDED: what is kept of a node's output until all are done. */
const maxKeptBytes = 16 * 2 ** 20;

export function addExecCommand(program: Command, contextOf: () => Context): void {
  program
    .command('exec')
    .description('run a command on nodes at once; the exit code is that of the worst')
    .argument('<nodes>', nodeSetHelp)
    .argument('<command...>', 'behind --: a program and its arguments as they are, or one word for the shell of the node')
    .option('--user <name>', 'who logs in', 'root')
    .option('--jobs <number>', 'so many nodes at once', '32')
    .option('--timeout <time>', 'for each node, for example 30s or 5m (default: none; 10s to connect)')
    .option('--collate', 'when all are done: equal outputs once, under the nodes that gave them')
    .addHelpText(
      'after',
      "\nExamples:\n  cardless exec @workers -- apt-get install -y hwloc\n  cardless exec red[1-8] --collate -- 'uname -r; nproc'",
    )
    .action(async (nodes: string, words: string[], options: ExecOptions) => {
      const context = contextOf();
      const jobs = parseJobs(options.jobs);
      const timeoutMs = options.timeout === undefined ? undefined : parseDuration(options.timeout);
      await using session = await openSshSession(context, { nodes, user: options.user });
      const runs = await runAll(context, options.collate === true, {
        nodes: session.nodes.map(({ name }) => name),
        jobs,
        unfound: session.unfound,
        signal: context.signal,
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
        command: (name) => ['ssh', [...session.options, '-T', name, '--', remoteCommand(words)]],
      });
      for (const line of context.json ? [] : failureLines(runs)) {
        context.note(`cardless: ${line}`);
      }
      process.exitCode = worstOf(runs);
    });
}

async function runAll(context: Context, isCollated: boolean, options: Omit<RunOnNodesOptions, 'onOutput' | 'onEnd'>): Promise<NodeRun[]> {
  if (!isCollated && !context.json) {
    return await runPrefixed(options);
  }
  const kept = new Map(options.nodes.map((name) => [name, { stdout: new Kept(), stderr: new Kept(), both: new Kept() }]));
  const runs = await runOnNodes({
    ...options,
    onOutput: (node, stream, bytes) => {
      kept.get(node)?.[stream].add(bytes);
      kept.get(node)?.both.add(bytes);
      return Promise.resolve();
    },
  });
  const of = (name: string, what: 'stdout' | 'stderr' | 'both'): Buffer => kept.get(name)?.[what].bytes() ?? Buffer.alloc(0);
  if (context.json) {
    const results = runs.map(({ name, outcome }) => ({
      name,
      outcome: outcome.kind,
      exitCode: exitCodeOf(outcome),
      ...textOf('stdout', of(name, 'stdout')),
      ...textOf('stderr', of(name, 'stderr')),
    }));
    await writeOutput('stdout', Buffer.from(`${JSON.stringify(results)}\n`));
  } else {
    const ran = runs.filter(({ outcome }) => outcome.kind !== 'no-address');
    await writeOutput('stdout', collate(ran.map(({ name }) => ({ name, output: of(name, 'both') }))));
  }
  return runs;
}

async function runPrefixed(options: Omit<RunOnNodesOptions, 'onOutput' | 'onEnd'>): Promise<NodeRun[]> {
  const width = Math.max(...options.nodes.map((name) => name.length));
  const lines = new Map(
    options.nodes.map((name) => {
      const prefix = `${`${name}:`.padEnd(width + 1)} `;
      return [name, { stdout: new PrefixedLines(prefix), stderr: new PrefixedLines(prefix) }];
    }),
  );
  return await runOnNodes({
    ...options,
    onOutput: async (node, stream, bytes) => await writeOutput(stream, lines.get(node)?.[stream].add(bytes) ?? bytes),
    onEnd: async (node) => {
      for (const stream of ['stdout', 'stderr'] as const) {
        await writeOutput(stream, lines.get(node)?.[stream].end() ?? Buffer.alloc(0));
      }
    },
  });
}

class Kept {
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  add(bytes: Buffer): void {
    if (this.#bytes < maxKeptBytes) {
      this.#chunks.push(bytes);
      this.#bytes += bytes.length;
    }
  }

  bytes(): Buffer {
    const all = Buffer.concat(this.#chunks);
    return all.length <= maxKeptBytes
      ? all
      : Buffer.concat([all.subarray(0, maxKeptBytes), Buffer.from(`\n[cut after ${maxKeptBytes} bytes]\n`)]);
  }
}

/** JSON carries text; other bytes are told in base64. */
function textOf(name: 'stdout' | 'stderr', bytes: Buffer): object {
  return isUtf8(bytes) ? { [name]: bytes.toString('utf8') } : { [`${name}Base64`]: bytes.toString('base64') };
}

/** @throws UserError bad-input */
export function parseJobs(text: string): number {
  const jobs = Number(text);
  if (!Number.isInteger(jobs) || jobs < 1 || jobs > 1000) {
    throw new UserError('bad-input', `"${text}" is not a number of jobs`, { hint: 'From 1 to 1000' });
  }
  return jobs;
}
