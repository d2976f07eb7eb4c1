/** `cardless bench protocols`: our server against dnsmasq, tftpd-hpa and Kea, on links that exist for the run alone. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, release } from 'node:os';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { UserError } from '../../domain/errors.ts';
import { type Context, requireRoot } from '../context.ts';
import { ownRunFolder } from '../run-folder.ts';
import { ensureTools } from '../setup.ts';
import type { Bench } from './bench.ts';
import { BenchNetwork } from './bench-network.ts';
import { dhcpPlanSeconds, measureDhcp } from './dhcp-cells.ts';
import type { DhcpRow, StormRow } from './figures.ts';
import { goalsOf, type Measured } from './goals.ts';
import { LoadClients } from './load-clients.ts';
import { PeerPrograms } from './peers.ts';
import { type Plan, planOf } from './plan.ts';
import { BenchProgress } from './progress.ts';
import { markdownReport, type Report, textReport, withTables } from './report.ts';
import { addRootBench } from './root/root-command.ts';
import { measureStorm } from './storm-cells.ts';
import { measureTftp, type TftpResults, tftpPlanSeconds } from './tftp-cells.ts';

const parts = ['tftp', 'dhcp', 'storm'] as const;
type Part = (typeof parts)[number];

interface BenchOptions {
  readonly quick?: boolean;
  readonly tiny?: boolean;
  readonly only?: Part;
  readonly rounds?: number;
  readonly markdown?: string;
}

export function addBenchCommands(program: Command, contextOf: () => Context): void {
  const bench = program.command('bench').description('measure this server against others, on a network of its own');
  addRootBench(bench, contextOf);
  bench
    .command('protocols')
    .description('TFTP and DHCP against dnsmasq, tftpd-hpa and Kea; many boards at once')
    .option('--quick', 'one round of short runs: under two minutes')
    .addOption(new Option('--tiny', 'a moment of everything: whether it works, not how fast').hideHelp())
    .addOption(new Option('--only <part>', 'one part alone').choices(parts))
    .option('--rounds <number>', 'rounds of which the medians are taken', parseRounds)
    .option('--markdown <file>', 'put the tables into a file: between its marks, as in docs/performance.md, or as all of it')
    .action(async (options: BenchOptions) => {
      const context = contextOf();
      requireRoot('A benchmark makes networks and starts servers, and');
      await ensureTools('bench', context);
      const report = await runBench(context, options);
      context.print(context.json ? JSON.stringify(report) : textReport(report));
      if (options.markdown !== undefined) {
        const document = await readFile(options.markdown, 'utf8').catch(() => '');
        await writeFile(options.markdown, withTables(document, markdownReport(report)));
      }
      if (!report.ok) {
        const missed = report.goals.filter((goal) => !goal.met).length;
        throw new UserError('failed', `${missed} of ${report.goals.length} goals were not met`);
      }
    });
}

function parseRounds(text: string): number {
  const rounds = Number(text);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100) {
    throw new InvalidArgumentError('A number from 1 to 100.');
  }
  return rounds;
}

async function runBench(context: Context, options: BenchOptions): Promise<Report> {
  const startedAt = Date.now();
  const size = options.tiny ? 'tiny' : options.quick ? 'quick' : 'full';
  const plan = planOf(size, options.rounds);
  const wanted = (part: Part): boolean => options.only === undefined || options.only === part;
  const directory = await ownRunFolder(context.places.state, 'bench');
  const programs = await PeerPrograms.fetch(context);
  const write = (text: string): void => void process.stderr.write(text);
  const progress = new BenchProgress(plannedSeconds(plan, wanted), write, process.stderr.isTTY);
  await using network = await BenchNetwork.create();
  const load = await LoadClients.build(join(directory, 'clients'), network, context.signal);
  const bench: Bench = { network, load, programs, progress, directory, signal: context.signal };
  const none: TftpResults = { tftp: [], fairness: [], faults: [] };
  const tftp = wanted('tftp') ? await measureTftp(bench, plan.tftp) : none;
  const dhcp: DhcpRow[] = wanted('dhcp') ? await measureDhcp(bench, plan.dhcp) : [];
  const stormState = join(directory, 'storm');
  const storm: StormRow[] = wanted('storm')
    ? await measureStorm({ cells: plan.storm, state: stormState, progress, signal: context.signal })
    : [];
  progress.end();
  await rm(directory, { recursive: true, force: true });
  return reportOf({ ...tftp, dhcp, storm }, Math.round((Date.now() - startedAt) / 1000));
}

function reportOf(measured: Measured, seconds: number): Report {
  const goals = goalsOf(measured);
  const machine = { cores: availableParallelism(), node: process.version, kernel: release() };
  return { ok: goals.every((goal) => goal.met), machine, seconds, ...measured, goals };
}

function plannedSeconds(plan: Plan, wanted: (part: Part) => boolean): number {
  const storm = plan.storm.reduce((sum, cell) => sum + cell.plannedSeconds, 0);
  return (
    (wanted('tftp') ? tftpPlanSeconds(plan.tftp) : 0) + (wanted('dhcp') ? dhcpPlanSeconds(plan.dhcp) : 0) + (wanted('storm') ? storm : 0)
  );
}
