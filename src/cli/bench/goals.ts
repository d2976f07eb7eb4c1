/** What the measurements are held against. */
import type { DhcpRow, FairnessRow, FaultRow, StormRow, TftpRow } from './figures.ts';

export interface Goal {
  readonly name: string;
  readonly want: string;
  readonly got: string;
  readonly met: boolean;
}

export interface Measured {
  readonly tftp: readonly TftpRow[];
  readonly fairness: readonly FairnessRow[];
  readonly faults: readonly FaultRow[];
  readonly dhcp: readonly DhcpRow[];
  readonly storm: readonly StormRow[];
}

const manyClients = 64;

/** One goal for each row that was measured; what was not measured has none. */
export function goalsOf(measured: Measured): Goal[] {
  return [
    ...measured.tftp.map(tftpGoal),
    ...measured.fairness.map((row) => atMost(`fairness, ${row.clients} equal TFTP clients, slowest by fastest`, 1.5, row.ours)),
    ...measured.faults.flatMap(faultGoals),
    ...measured.dhcp.flatMap(dhcpGoals),
    ...measured.storm.flatMap(stormGoals),
  ];
}

function tftpGoal(row: TftpRow): Goal {
  const name = `TFTP ${row.clients} clients, blksize ${row.blksize}`;
  if (row.windowsize > 1) {
    const goal = atLeast(`${name}, windowsize ${row.windowsize}, by the better peer's lock-step`, 3, row.ratioToBest);
    return row.windowsizeGranted > 1 ? goal : { ...goal, got: 'no window granted', met: false };
  }
  return atLeast(`${name}, by the better peer`, row.clients >= manyClients ? 1.3 : 1, row.ratioToBest);
}

function faultGoals(row: FaultRow): Goal[] {
  const weather = `TFTP ${row.bytes / 1e6} MB at ${row.loss * 100} % loss${row.dup > 0 ? ', duplication, reordering' : ''}`;
  const [done, all] = (row.completed['ours'] ?? '0/0').split('/').map(Number);
  const completes = { name: `${weather}: transfers that complete`, want: 'all', got: `${done} of ${all}`, met: done === all && done !== 0 };
  if (row.dup > 0) {
    return [completes];
  }
  const dnsmasq = row.dnsmasq ?? row.limitSeconds;
  return [
    completes,
    atMost(`${weather}: seconds by dnsmasq's`, 0.1, row.ours === null ? null : Number((row.ours / dnsmasq).toPrecision(3))),
  ];
}

function dhcpGoals(row: DhcpRow): Goal[] {
  const latency = row.offerP99Ms['ours'] ?? null;
  const goals = [
    atLeast(`DHCP ${row.clients} clients, exchanges by the better peer`, 2, row.ratioToBest),
    atMost(`DHCP ${row.clients} clients, OFFER p99 in ms at ${row.latencyRate} exchanges/s`, 5, latency),
  ];
  const loss = row.lossAtLatencyRate['ours'] ?? 1;
  return [
    ...goals,
    { name: `DHCP ${row.clients} clients, loss at ${row.latencyRate}/s`, want: '< 0.01', got: `${loss}`, met: loss < 0.01 },
  ];
}

function stormGoals(row: StormRow): Goal[] {
  const name = `storm, ${row.count} x ${row.model}, ${row.mode}, ${row.bandwidth}`;
  const goals = [
    {
      name: `${name}: booted`,
      want: `${row.count}`,
      got: row.error === undefined ? `${row.booted}` : 'not available',
      met: row.booted === row.count && row.error === undefined,
    },
    {
      name: `${name}: restarts`,
      want: '0',
      got: row.error === undefined ? `${row.restarts}` : 'not available',
      met: row.restarts === 0 && row.error === undefined,
    },
  ];
  // A board that waits for its ROM's clock is not held to the line's rate.
  return row.model === 'pi3b' ? goals : [...goals, atMost(`${name}: makespan by bytes / line rate`, 1.15, row.makespanRatio)];
}

function atLeast(name: string, want: number, got: number | null): Goal {
  return { name, want: `>= ${want}`, got: got === null ? 'nothing to compare' : `${got}`, met: got !== null && got >= want };
}

function atMost(name: string, want: number, got: number | null): Goal {
  return { name, want: `<= ${want}`, got: got === null ? 'not measured' : `${got}`, met: got !== null && got <= want };
}
