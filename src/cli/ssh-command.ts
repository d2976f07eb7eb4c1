/** A shell on a node, and files to nodes and back. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { UserError } from '../domain/errors.ts';
import { runForeground } from '../process/run-foreground.ts';
import type { Context } from './context.ts';
import { parseJobs } from './exec-command.ts';
import { nodeSetHelp } from './node/node-view.ts';
import { PrefixedLines } from './ssh/lines.ts';
import { writeOutput } from './ssh/output.ts';
import { commandLine } from './ssh/remote-command.ts';
import { exitCodeOf, failureLines, runOnNodes, worstOf } from './ssh/run-on-nodes.ts';
import { openSshSession, type SshSession } from './ssh/ssh-access.ts';

export function addSshCommands(program: Command, contextOf: () => Context): void {
  program
    .command('ssh')
    .description('a shell on a node, or one command there')
    .argument('<node>')
    .argument('[command...]', 'behind --')
    .option('--user <name>', 'who logs in', 'root')
    .action(async (node: string, words: string[], { user }: { user: string }) => {
      await using session = await openSshSession(contextOf(), { nodes: node, user });
      const [target, ...more] = session.nodes;
      if (!target || more.length > 0) {
        throw new UserError('bad-input', `"${node}" is ${session.nodes.length} nodes`, { hint: 'cardless exec runs a command on many' });
      }
      if (session.unfound.length > 0) {
        throw new UserError('unavailable', `No address of ${target.name} is known yet`, {
          hint: `cardless node show ${target.name} tells how far it came`,
        });
      }
      const command = words.length === 0 ? [] : ['--', commandLine(words)];
      process.exitCode = await runForeground('ssh', [...session.options, target.name, ...command]);
    });

  program
    .command('copy')
    .description('copy files to nodes, or from nodes')
    .argument('<paths...>', 'FILE... NODES:PATH, or NODES:PATH... FOLDER')
    .option('--user <name>', 'who logs in', 'root')
    .option('--jobs <number>', 'so many nodes at once', '16')
    .addHelpText(
      'after',
      `\nNODES is ${nodeSetHelp}. From more than one node, each gets a folder of its name.\nExamples:\n  cardless copy app.conf 'red[1-8]:/etc/app/'\n  cardless copy '@workers:/var/log/app.log' logs/`,
    )
    .action(async (paths: string[], { user, jobs }: { user: string; jobs: string }) => {
      const copy = readCopy(paths);
      const context = contextOf();
      await using session = await openSshSession(context, { nodes: copy.nodes, user });
      const names = session.nodes.map(({ name }) => name);
      const args = await copyArguments(copy, names, session);
      const lines = new Map(names.map((name) => [name, new PrefixedLines(`${name}: `)]));
      const runs = await runOnNodes({
        nodes: names,
        jobs: parseJobs(jobs),
        unfound: session.unfound,
        signal: context.signal,
        command: (name) => ['scp', args(name)],
        onOutput: async (name, _stream, bytes) => await writeOutput('stderr', lines.get(name)?.add(bytes) ?? bytes),
        onEnd: async (name) => await writeOutput('stderr', lines.get(name)?.end() ?? Buffer.alloc(0)),
      });
      for (const line of failureLines(runs)) {
        context.note(`cardless: ${line}`);
      }
      if (context.json) {
        context.print(JSON.stringify(runs.map(({ name, outcome }) => ({ name, outcome: outcome.kind, exitCode: exitCodeOf(outcome) }))));
      }
      process.exitCode = worstOf(runs);
    });
}

interface Copy {
  readonly nodes: string;
  readonly direction: 'to' | 'from';
  readonly remote: readonly string[];
  readonly local: readonly string[];
}

/** As scp has it: what stands before a colon, and has no slash in it, is where the file is. @throws UserError bad-input */
export function readCopy(paths: readonly string[]): Copy {
  const places = paths.map((path) => {
    const [, nodes, remote] = /^([^/:]+):(.*)$/s.exec(path) ?? [];
    return nodes === undefined ? { path } : { nodes, path: remote === undefined || remote === '' ? '.' : remote };
  });
  const target = places.at(-1);
  const sources = places.slice(0, -1);
  const hint = "cardless copy FILE... 'red[1-8]:PATH', or cardless copy 'red[1-8]:PATH'... FOLDER";
  if (!target || sources.length === 0) {
    throw new UserError('bad-input', 'What is to be copied where?', { hint });
  }
  if (target.nodes !== undefined) {
    if (sources.some(({ nodes }) => nodes !== undefined)) {
      throw new UserError('bad-input', 'Files go from this machine to nodes or back, not from node to node', { hint });
    }
    return { nodes: target.nodes, direction: 'to', remote: [target.path], local: sources.map(({ path }) => path) };
  }
  const [first] = sources;
  if (first?.nodes === undefined || sources.some(({ nodes }) => nodes !== first.nodes)) {
    throw new UserError('bad-input', first?.nodes === undefined ? 'No nodes are named' : 'All files must come from the same nodes', {
      hint,
    });
  }
  return { nodes: first.nodes, direction: 'from', remote: sources.map(({ path }) => path), local: [target.path] };
}

/** What scp is told, for each node. */
async function copyArguments(copy: Copy, names: readonly string[], session: SshSession): Promise<(name: string) => string[]> {
  const common = [...session.options, '-B', '-r', '-p', '--'];
  // Its own reading of "host:path" must not find a host in a local name.
  const local = copy.local.map((path) => (path.startsWith('/') ? path : `./${path}`));
  if (copy.direction === 'to') {
    return (name) => [...common, ...local, ...copy.remote.map((path) => `${name}:${path}`)];
  }
  const [folder = '.'] = local;
  const folderOf = (name: string): string => (names.length === 1 ? folder : join(folder.startsWith('/') ? '/' : '.', folder, name));
  if (names.length > 1) {
    await Promise.all(names.map((name) => mkdir(folderOf(name), { recursive: true })));
  }
  return (name) => [...common, ...copy.remote.map((path) => `${name}:${path}`), folderOf(name)];
}
