/** DHCP: how many full exchanges in a second, and how long an OFFER takes, our server against dnsmasq and Kea. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench } from './bench.ts';
import type { Contender } from './contender.ts';
import { type DhcpFigures, type DhcpRow, dhcpRow, nextRate, Runs, type Trial } from './figures.ts';
import type { DhcpLoad } from './load-clients.ts';
import { registerNodes, startOurServer } from './our-server.ts';
import { startDnsmasqDhcp, startKea } from './peers.ts';

export interface DhcpPlan {
  readonly clients: readonly number[];
  readonly rounds: number;
  readonly trialSeconds: number;
  /** How long a server may take to give everybody a first lease. */
  readonly firstLeasesLimitSeconds: number;
}

const latencyRate = 1000;
const firstRate = 1000;
const maxLoss = 0.01;
/** Exchanges that were only through long after they began were kept in a queue, not served at that rate. */
const keptShare = 0.9;
/** What an overloaded server still has in its queues should not count against the next trial. */
const settleMs = 500;
/** Of one search, in trials, for the time left. */
const usualTrials = 6;

export function dhcpPlanSeconds(plan: DhcpPlan): number {
  const each = plan.rounds * 3 * (usualTrials + 1) * (plan.trialSeconds + 0.5);
  return plan.clients.reduce((sum, clients) => sum + each + 15 + clients / 200, 0);
}

export async function measureDhcp(bench: Bench, plan: DhcpPlan): Promise<DhcpRow[]> {
  const rows: DhcpRow[] = [];
  for (const clients of plan.clients) {
    rows.push(await measureClients(bench, plan, clients));
    bench.progress.add(dhcpPlanSeconds({ ...plan, clients: [clients] }));
  }
  return rows;
}

async function measureClients(bench: Bench, plan: DhcpPlan, clients: number): Promise<DhcpRow> {
  const directory = join(bench.directory, `dhcp-${clients}`);
  await using stack = new AsyncDisposableStack();
  bench.progress.show(`DHCP ${clients} clients, registering nodes`);
  const ours = stack.use(await startOurServer(await bench.network.addSegment(), directory));
  await registerNodes(ours.client, clients, bench.signal);
  const dnsmasq = stack.use(await startDnsmasqDhcp(await bench.network.addSegment(), directory));
  const kea = stack.use(await startKea(bench.programs, await bench.network.addSegment(), directory));
  const servers = [ours, dnsmasq, kea];
  const errors: string[] = [];
  const firstLeases: Record<string, number> = {};
  for (const server of servers) {
    bench.progress.show(`DHCP ${clients} first leases, ${server.name}`);
    const report = await bench.load.dhcp(server.segment, { clients, limitSeconds: plan.firstLeasesLimitSeconds });
    firstLeases[server.name] = report.completed / report.seconds;
    if (report.completed < clients) {
      errors.push(`${server.name} gave ${report.completed} of ${clients} first leases in ${plan.firstLeasesLimitSeconds} s`);
    }
  }
  const runs = new Runs<DhcpFigures>();
  for (let round = 1; round <= plan.rounds; round += 1) {
    for (const server of servers) {
      const known = runs.of(server.name).at(-1)?.exchangesPerSecond;
      const figures = await measureServer({ bench, plan, clients, server, round, ...(known === undefined ? {} : { known }) });
      runs.add(server.name, figures);
    }
  }
  return dhcpRow(clients, latencyRate, runs.all(), firstLeases, errors);
}

interface Search {
  readonly bench: Bench;
  readonly plan: DhcpPlan;
  readonly clients: number;
  readonly server: Contender;
  readonly round: number;
  /** What an earlier round found. */
  readonly known?: number;
}

async function measureServer({ bench, plan, clients, server, round, known }: Search): Promise<DhcpFigures> {
  const title = `DHCP ${clients} clients, ${server.name}, round ${round}`;
  bench.progress.show(`${title}, ${latencyRate}/s`);
  const latency = await bench.load.dhcp(server.segment, { clients, rate: latencyRate, seconds: plan.trialSeconds });
  let best = { ok: false, reached: 0, clientBusy: 0 };
  const trials: Trial[] = [];
  const from = known === undefined || known < 1 ? firstRate : Math.round(known * 0.7);
  for (let rate = nextRate(from, trials); rate !== undefined; rate = nextRate(from, trials)) {
    bench.progress.show(`${title}, ${rate}/s`);
    let trial = await tryRate(bench, server, { clients, rate, seconds: plan.trialSeconds });
    if (!trial.ok && trials.every((earlier) => earlier.ok)) {
      // The first failure decides where the search goes on, so a moment of other work on the machine must not make it.
      trial = await tryRate(bench, server, { clients, rate, seconds: plan.trialSeconds });
    }
    trials.push({ rate, ok: trial.ok });
    if (trial.ok && trial.reached > best.reached) {
      best = trial;
    }
  }
  return {
    exchangesPerSecond: best.reached,
    clientBusy: best.clientBusy,
    offerP50Us: latency.offerP50Us,
    offerP99Us: latency.offerP99Us,
    loss: 1 - latency.completed / latency.begun,
  };
}

async function tryRate(
  bench: Bench,
  server: Contender,
  load: DhcpLoad & { rate: number },
): Promise<{ ok: boolean; reached: number; clientBusy: number }> {
  const report = await bench.load.dhcp(server.segment, load);
  const reached = report.completed / report.seconds;
  const ok = 1 - report.completed / report.begun < maxLoss && reached > load.rate * keptShare;
  if (!ok) {
    await sleep(settleMs, undefined, { signal: bench.signal });
  }
  return { ok, reached, clientBusy: report.clientCpuSeconds / report.seconds };
}
