/** TFTP: throughput, fairness and bad links, our server against dnsmasq and tftpd-hpa. */
import { join } from 'node:path';
import { UserError } from '../../domain/errors.ts';
import type { Bench } from './bench.ts';
import type { Contender } from './contender.ts';
import {
  type FairnessRow,
  type FaultFigures,
  type FaultRow,
  faultRow,
  median,
  Runs,
  rounded,
  type TftpCell,
  type TftpFigures,
  type TftpRow,
  tftpRow,
  type Weather,
} from './figures.ts';
import { type OurServer, publishFiles, registerNodes, startOurServer } from './our-server.ts';
import { startDnsmasqTftp, startTftpdHpa } from './peers.ts';

export interface TftpPlan {
  readonly clients: readonly number[];
  readonly blksizes: readonly number[];
  readonly windowClients: readonly number[];
  readonly seconds: number;
  readonly rounds: number;
  readonly fairnessClients: number;
  readonly faultBytes: number;
  readonly faultLimitSeconds: number;
  readonly faultRuns: number;
}

const window = 16;
const fullBlksize = 1468;
/** Fetched again and again by throughput cells. */
const loadFile = 'load.bin';
const loadBytes = 8 * 1024 * 1024;
/** Fetched once by each of the equal clients. */
const fairFile = 'fair.bin';
const fairBytes = 4 * 1024 * 1024;
const fairLimitSeconds = 20;
const faultFile = 'fault.bin';
const lossy: Weather = { loss: 0.01, dup: 0, reorder: 0 };
const stormy: Weather = { loss: 0.05, dup: 0.05, reorder: 0.05 };
const registrationSeconds = 10;

export interface TftpResults {
  readonly tftp: readonly TftpRow[];
  readonly fairness: readonly FairnessRow[];
  readonly faults: readonly FaultRow[];
}

/** Runs that take so long, for the time left. */
export function tftpPlanSeconds(plan: TftpPlan): number {
  const cells = plan.clients.length * plan.blksizes.length * 3 + plan.windowClients.length + 3;
  return registrationSeconds + cells * plan.rounds * (plan.seconds + 0.3) + 2 * plan.faultLimitSeconds;
}

interface Arena {
  readonly bench: Bench;
  readonly plan: TftpPlan;
  readonly ours: OurServer;
  readonly servers: readonly Contender[];
  /** The folder that all serve. */
  readonly files: string;
}

export async function measureTftp(bench: Bench, plan: TftpPlan): Promise<TftpResults> {
  const state = join(bench.directory, 'tftp');
  bench.progress.show('starting the TFTP servers');
  const files = await publishFiles(state, { [loadFile]: loadBytes, [fairFile]: fairBytes, [faultFile]: plan.faultBytes });
  await using stack = new AsyncDisposableStack();
  const ours = stack.use(await startOurServer(await bench.network.addSegment(), state));
  const dnsmasq = stack.use(await startDnsmasqTftp(await bench.network.addSegment(), files));
  const hpa = stack.use(await startTftpdHpa(bench.programs, await bench.network.addSegment(), files));
  const most = Math.max(...plan.clients, ...plan.windowClients, plan.fairnessClients);
  await registerNodes(ours.client, most, bench.signal, ours.segment.firstClient);
  const arena: Arena = { bench, plan, ours, servers: [ours, dnsmasq, hpa], files };
  await askToBoot(arena, most);
  for (const server of arena.servers) {
    // Files that were never read come from the disk, which is not what is measured.
    for (const file of [loadFile, fairFile]) {
      await bench.load.tftp(server.segment, { clients: 1, blksize: fullBlksize, windowsize: 1, file, limitSeconds: fairLimitSeconds });
    }
  }
  bench.progress.add(registrationSeconds);
  return { tftp: await throughput(arena), fairness: await fairness(arena), faults: await faults(arena) };
}

/** Our server gives files to boards that boot, so each client asks by DHCP first, as a PC that boots from the network. */
async function askToBoot({ bench, ours }: Arena, clients: number): Promise<void> {
  const report = await bench.load.dhcp(ours.segment, { clients, pxe: true, limitSeconds: 60 });
  if (report.completed !== clients) {
    throw new UserError('failed', `Only ${report.completed} of ${clients} load clients got an address from our server`);
  }
}

async function throughput(arena: Arena): Promise<TftpRow[]> {
  const { plan } = arena;
  const lockStep = plan.blksizes.flatMap((blksize) => plan.clients.map((clients) => ({ clients, blksize, windowsize: 1 })));
  const windows = plan.windowClients.map((clients) => ({ clients, blksize: fullBlksize, windowsize: window }));
  const runs = new Map([...lockStep, ...windows].map((cell) => [cell, new Runs<TftpFigures>()]));
  for (let round = 1; round <= plan.rounds; round += 1) {
    for (const cell of [...lockStep, ...windows]) {
      // Without windows of their own, the peers' lock-step figures are what ours is compared with.
      const servers = cell.windowsize > 1 ? [arena.ours] : arena.servers;
      for (const server of servers) {
        runs.get(cell)?.add(server.name, await throughputRun(arena, server, cell, round));
      }
    }
  }
  const rows = lockStep.map((cell) => tftpRow(cell, runs.get(cell)?.all() ?? {}));
  const same = (cell: TftpCell): TftpRow | undefined => rows.find((row) => row.clients === cell.clients && row.blksize === cell.blksize);
  return [...rows, ...windows.map((cell) => tftpRow(cell, runs.get(cell)?.all() ?? {}, same(cell)))];
}

async function throughputRun({ bench, plan }: Arena, server: Contender, cell: TftpCell, round: number): Promise<TftpFigures> {
  bench.progress.show(
    `TFTP ${cell.clients} x ${cell.blksize}${cell.windowsize > 1 ? ` window ${cell.windowsize}` : ''}, ${server.name}, round ${round}`,
  );
  const before = await server.cpuSeconds();
  const report = await bench.load.tftp(server.segment, { ...cell, file: loadFile, seconds: plan.seconds });
  const used = (await server.cpuSeconds()) - before;
  bench.progress.add(plan.seconds + 0.3);
  return {
    megabytesPerSecond: report.bytes / 1e6 / report.seconds,
    p99BlockUs: report.blockP99Us,
    cpuSecondsPerGb: report.bytes === 0 ? Number.NaN : (used / report.bytes) * 1e9,
    clientBusy: report.clientCpuSeconds / report.seconds,
    windowsize: report.windowsize,
    failed: report.failed,
    error: report.error,
  };
}

async function fairness({ bench, plan, servers }: Arena): Promise<FairnessRow[]> {
  const ratios = new Runs<number>();
  for (let round = 1; round <= plan.rounds; round += 1) {
    for (const server of servers) {
      bench.progress.show(`TFTP ${plan.fairnessClients} equal clients, ${server.name}, round ${round}`);
      const cell = { clients: plan.fairnessClients, blksize: fullBlksize, windowsize: 1 };
      const report = await bench.load.tftp(server.segment, { ...cell, file: fairFile, limitSeconds: fairLimitSeconds });
      const all = report.completed === cell.clients;
      ratios.add(server.name, all ? report.slowestSeconds / report.fastestSeconds : Number.POSITIVE_INFINITY);
      bench.progress.add(plan.seconds + 0.3);
    }
  }
  const of = (name: string): number => rounded(median(ratios.of(name)));
  return [{ clients: plan.fairnessClients, blksize: fullBlksize, ours: of('ours'), dnsmasq: of('dnsmasq'), 'tftpd-hpa': of('tftpd-hpa') }];
}

/** Ours alone and several times; the peers, which mostly wait for their timers, once and all at the same time. */
async function faults({ bench, plan, ours, servers, files }: Arena): Promise<FaultRow[]> {
  const facts = { clients: 1, blksize: fullBlksize, windowsize: 1, bytes: plan.faultBytes, limitSeconds: plan.faultLimitSeconds };
  const run = async (server: Contender, weather: Weather, seed: number): Promise<FaultFigures> => {
    const load = { ...facts, ...weather, seed, file: faultFile, expect: join(files, faultFile) };
    const report = await bench.load.tftp(server.segment, load);
    return { seconds: report.seconds, completed: report.completed === 1 && report.mismatches === 0 };
  };
  const weathers = [lossy, stormy].map((weather) => ({ weather, runs: new Runs<FaultFigures>() }));
  for (const { weather, runs } of weathers) {
    // One that did not complete has decided the matter; more of them would only take their time.
    for (let seed = 1; seed <= plan.faultRuns && runs.of(ours.name).every((figures) => figures.completed); seed += 1) {
      bench.progress.show(`TFTP at ${weather.loss * 100} % loss, ours, run ${seed}`);
      runs.add(ours.name, await run(ours, weather, seed));
    }
  }
  bench.progress.add(plan.faultLimitSeconds);
  bench.progress.show('TFTP on bad links, the peers');
  const peers = servers.filter((server) => server !== ours);
  await Promise.all(
    weathers.flatMap(({ weather, runs }) => peers.map(async (server) => runs.add(server.name, await run(server, weather, 1)))),
  );
  bench.progress.add(plan.faultLimitSeconds);
  return weathers.map(({ weather, runs }) => faultRow({ ...facts, ...weather }, runs.all()));
}
