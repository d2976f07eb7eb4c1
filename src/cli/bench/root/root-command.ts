/** `cardless bench root`: our root against LTSP's and a plain NFS root, from power-on to ready, on a link of a given speed. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, release } from 'node:os';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { UserError } from '../../../domain/errors.ts';
import { type Context, requireRoot } from '../../context.ts';
import { ensureTools } from '../../setup.ts';
import { BenchProgress } from '../progress.ts';
import { measureBoots } from './boot-cells.ts';
import { NbdBench } from './nbd-cells.ts';
import { openArena } from './root-arena.ts';
import { contenderNames, type ManyClients, rootGoals, type ThroughputRow } from './root-figures.ts';
import { nbdSecondsOn, type RootPart, type RootPlan, rootParts, rootPlanOf, rootPlanSeconds } from './root-plan.ts';
import { type RootReport, rootTextReport, withRootTables } from './root-report.ts';
import { bootFilesOf, ensureRootTrees } from './root-tree.ts';

interface RootOptions {
  readonly quick?: boolean;
  readonly tiny?: boolean;
  readonly only?: RootPart;
  readonly guests?: readonly number[];
  readonly rounds?: number;
  readonly markdown?: string;
}

export function addRootBench(bench: Command, contextOf: () => Context): void {
  bench
    .command('root')
    .description('boots PCs into our root, into LTSP and into a plain NFS root, side by side, at 1 Gbit/s and 100 Mbit/s')
    .option('--quick', 'one guest at a time: some fifteen minutes')
    .option('--tiny', 'one guest at 1 Gbit/s: a few minutes')
    .addOption(new Option('--only <part>', 'one part alone: boots, or NBD throughput and memory').choices(rootParts))
    .option('--guests <numbers>', 'so many at once, each alone or separated by commas (default: 1,4,8)', parseGuests)
    .option('--rounds <number>', 'rounds of which the medians are taken', parseRounds)
    .option('--markdown <file>', 'put the tables into a file: between its marks, as in docs/root-performance.md')
    .action(async (options: RootOptions) => {
      const context = contextOf();
      requireRoot('A benchmark makes networks and starts servers, and');
      await ensureTools('rootbench', context);
      const report = await runRootBench(context, options);
      context.print(context.json ? JSON.stringify(report) : rootTextReport(report));
      if (options.markdown !== undefined) {
        const document = await readFile(options.markdown, 'utf8').catch(() => '');
        await writeFile(options.markdown, withRootTables(document, report));
      }
      if (!report.ok) {
        const missed = report.goals.filter((goal) => !goal.met).length;
        throw new UserError('failed', `${missed} of ${report.goals.length} goals were not met`);
      }
    });
}

function parseRounds(text: string): number {
  const rounds = Number(text);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 20) {
    throw new InvalidArgumentError('A number from 1 to 20.');
  }
  return rounds;
}

function parseGuests(text: string): number[] {
  const numbers = text.split(',').map(Number);
  if (numbers.some((number) => !Number.isInteger(number) || number < 1 || number > 64)) {
    throw new InvalidArgumentError('Numbers from 1 to 64, separated by commas.');
  }
  return numbers;
}

async function runRootBench(context: Context, options: RootOptions): Promise<RootReport> {
  const { signal } = context;
  const plan = rootPlanOf(options.tiny ? 'tiny' : options.quick ? 'quick' : 'full', options.rounds, options.guests);
  const wanted = (part: RootPart): boolean => options.only === undefined || options.only === part;
  const directory = join(context.places.state, 'bench-root');
  await rm(directory, { recursive: true, force: true });
  const trees = await ensureRootTrees(context);
  const startedAt = Date.now();
  const write = (text: string): void => void process.stderr.write(text);
  const progress = new BenchProgress(rootPlanSeconds(plan, wanted, contenderNames.length), write, process.stderr.isTTY);
  const guests = Math.max(...plan.cells.map((cell) => cell.guests));
  const measured = await (async () => {
    await using arena = await openArena({ trees, directory, guests, withPeers: wanted('boot'), progress, signal });
    const nbd = wanted('nbd') ? await measureNbd(await NbdBench.build({ arena, progress, signal }), plan, progress) : noNbd;
    const rows = wanted('boot') ? await measureBoots({ arena, cells: plan.cells, progress, note: context.note, signal }) : [];
    return { rows, ...nbd, bootFiles: await bootFilesOf(trees, arena.ours.image) };
  })();
  progress.end();
  await rm(directory, { recursive: true, force: true });
  const goals = rootGoals(measured.rows);
  const machine = { cores: availableParallelism(), node: process.version, kernel: release() };
  const seconds = Math.round((Date.now() - startedAt) / 1000);
  return { ok: goals.every((goal) => goal.met), machine, seconds, ...measured, goals };
}

interface NbdMeasured {
  readonly throughput: readonly ThroughputRow[];
  readonly manyClients: ManyClients | null;
}

const noNbd: NbdMeasured = { throughput: [], manyClients: null };

async function measureNbd(bench: NbdBench, plan: RootPlan, progress: BenchProgress): Promise<NbdMeasured> {
  const throughput: ThroughputRow[] = [];
  for (const link of plan.links) {
    throughput.push(...(await bench.throughput(link)));
    progress.add(nbdSecondsOn[link]);
  }
  return { throughput, manyClients: await bench.manyClients(plan.clients) };
}
