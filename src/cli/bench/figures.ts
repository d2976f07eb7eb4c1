/** What is made of measurements: medians, ratios, rows, and whether the goals are met. */

export const tftpPeers = ['dnsmasq', 'tftpd-hpa'] as const;
export const dhcpPeers = ['dnsmasq', 'kea'] as const;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/** Three significant digits: more would pretend a precision that nobody has. */
export function rounded(value: number): number {
  return Number.isFinite(value) ? Number(value.toPrecision(3)) : value;
}

/** How much better than the best peer, whichever way is better; undefined when there is nothing to compare. */
export function ratioToBest(ours: number, peers: readonly number[], better: 'more' | 'less'): number | undefined {
  const known = peers.filter((value) => Number.isFinite(value) && value > 0);
  if (known.length === 0 || !Number.isFinite(ours) || ours <= 0) {
    return undefined;
  }
  return rounded(better === 'more' ? ours / Math.max(...known) : Math.min(...known) / ours);
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spread(values: readonly number[]): Spread {
  return { median: rounded(median(values)), min: rounded(Math.min(...values)), max: rounded(Math.max(...values)) };
}

/** One way of loading a TFTP server. `windowsize` is what was asked; what was granted stands in the row. */
export interface TftpCell {
  readonly clients: number;
  readonly blksize: number;
  readonly windowsize: number;
}

/** One run of a cell against one server. */
export interface TftpFigures {
  readonly megabytesPerSecond: number;
  readonly p99BlockUs: number;
  readonly cpuSecondsPerGb: number;
  /** 1 means that the load client had no time left: the server could have done more. */
  readonly clientBusy: number;
  readonly windowsize: number;
  readonly failed: number;
  readonly error: string;
}

type ByServer<T> = Readonly<Record<string, T>>;

/** What was measured, by the server that it was measured with, in order of the rounds. */
export class Runs<T> {
  readonly #byServer = new Map<string, T[]>();

  add(server: string, figures: T): void {
    this.#byServer.set(server, [...this.of(server), figures]);
  }

  of(server: string): readonly T[] {
    return this.#byServer.get(server) ?? [];
  }

  all(): ByServer<readonly T[]> {
    return Object.fromEntries(this.#byServer);
  }
}

/** Rates are MB/s, medians of the rounds. Peers have no windows: a window's row repeats their lock-step figures. */
export interface TftpRow extends TftpCell {
  readonly ours: number;
  readonly dnsmasq: number;
  readonly 'tftpd-hpa': number;
  readonly ratioToBest: number | null;
  readonly windowsizeGranted: number;
  readonly spread: ByServer<readonly [number, number]>;
  readonly p99BlockUs: ByServer<number>;
  readonly cpuSecondsPerGb: ByServer<number>;
  readonly clientBusy: ByServer<number>;
  readonly failed: number;
  readonly error?: string;
}

export function tftpRow(cell: TftpCell, runs: ByServer<readonly TftpFigures[]>, lockStep?: TftpRow): TftpRow {
  const of = (what: (figures: TftpFigures) => number): Record<string, number> =>
    Object.fromEntries(Object.entries(runs).map(([server, all]) => [server, rounded(median(all.map(what)))]));
  const rates = of((figures) => figures.megabytesPerSecond);
  const all = Object.values(runs).flat();
  const ours = rates['ours'] ?? 0;
  const peer = (name: (typeof tftpPeers)[number]): number => lockStep?.[name] ?? rates[name] ?? 0;
  const error = all.find((figures) => figures.error !== '')?.error;
  return {
    ...cell,
    ours,
    dnsmasq: peer('dnsmasq'),
    'tftpd-hpa': peer('tftpd-hpa'),
    ratioToBest: ratioToBest(ours, tftpPeers.map(peer), 'more') ?? null,
    windowsizeGranted: Math.min(...(runs['ours'] ?? []).map((figures) => figures.windowsize)),
    spread: Object.fromEntries(
      Object.entries(runs).map(([server, figures]) => {
        const { min, max } = spread(figures.map((entry) => entry.megabytesPerSecond));
        return [server, [min, max] as const];
      }),
    ),
    p99BlockUs: of((figures) => figures.p99BlockUs),
    cpuSecondsPerGb: of((figures) => figures.cpuSecondsPerGb),
    clientBusy: of((figures) => figures.clientBusy),
    failed: all.reduce((sum, figures) => sum + figures.failed, 0),
    ...(error === undefined ? {} : { error }),
  };
}

/** One file to each of equal clients that start together. */
export interface FairnessRow {
  readonly clients: number;
  readonly blksize: number;
  /** Slowest client's time by the fastest one's. */
  readonly ours: number;
  readonly dnsmasq: number;
  readonly 'tftpd-hpa': number;
}

export interface Weather {
  readonly loss: number;
  readonly dup: number;
  readonly reorder: number;
}

/** Transfers over a bad link. Seconds of the median transfer that completed; null when none did within the limit. */
export interface FaultRow extends TftpCell, Weather {
  readonly bytes: number;
  readonly limitSeconds: number;
  readonly ours: number | null;
  readonly dnsmasq: number | null;
  readonly 'tftpd-hpa': number | null;
  readonly completed: ByServer<string>;
  /** A peer that did not complete counts with the limit, so the true ratio is larger. */
  readonly ratioToBest: number | null;
}

export interface FaultFigures {
  readonly seconds: number;
  readonly completed: boolean;
}

export function faultRow(
  facts: TftpCell & Weather & { bytes: number; limitSeconds: number },
  runs: ByServer<readonly FaultFigures[]>,
): FaultRow {
  const seconds = (server: string): number | null => {
    const done = (runs[server] ?? []).filter((figures) => figures.completed).map((figures) => figures.seconds);
    return done.length === 0 ? null : rounded(median(done));
  };
  const ours = seconds('ours');
  const peers = tftpPeers.map((name) => seconds(name) ?? facts.limitSeconds);
  return {
    ...facts,
    ours,
    dnsmasq: seconds('dnsmasq'),
    'tftpd-hpa': seconds('tftpd-hpa'),
    completed: Object.fromEntries(
      Object.entries(runs).map(([server, all]) => [server, `${all.filter((figures) => figures.completed).length}/${all.length}`]),
    ),
    ratioToBest: ours === null ? null : (ratioToBest(ours, peers, 'less') ?? null),
  };
}

/** Full exchanges in a second, medians of the rounds; `firstLeases` are exchanges that had to make a new lease. */
export interface DhcpRow {
  readonly clients: number;
  readonly ours: number;
  readonly dnsmasq: number;
  readonly kea: number;
  readonly ratioToBest: number | null;
  readonly firstLeases: ByServer<number>;
  /** At `latencyRate` exchanges a second. */
  readonly offerP50Ms: ByServer<number>;
  readonly offerP99Ms: ByServer<number>;
  readonly lossAtLatencyRate: ByServer<number>;
  /** At the highest rate that held, as in TFTP's rows. */
  readonly clientBusy: ByServer<number>;
  readonly latencyRate: number;
  readonly error?: string;
}

export interface DhcpFigures {
  readonly exchangesPerSecond: number;
  readonly offerP50Us: number;
  readonly offerP99Us: number;
  readonly loss: number;
  readonly clientBusy: number;
}

export function dhcpRow(
  clients: number,
  latencyRate: number,
  runs: ByServer<readonly DhcpFigures[]>,
  firstLeases: ByServer<number>,
  errors: readonly string[],
): DhcpRow {
  const of = (what: (figures: DhcpFigures) => number): Record<string, number> =>
    Object.fromEntries(Object.entries(runs).map(([server, all]) => [server, rounded(median(all.map(what)))]));
  const rates = of((figures) => figures.exchangesPerSecond);
  const peer = (name: (typeof dhcpPeers)[number]): number => rates[name] ?? 0;
  const ours = rates['ours'] ?? 0;
  return {
    clients,
    ours,
    dnsmasq: peer('dnsmasq'),
    kea: peer('kea'),
    ratioToBest: ratioToBest(ours, dhcpPeers.map(peer), 'more') ?? null,
    firstLeases: Object.fromEntries(Object.entries(firstLeases).map(([server, rate]) => [server, rounded(rate)])),
    offerP50Ms: of((figures) => figures.offerP50Us / 1000),
    offerP99Ms: of((figures) => figures.offerP99Us / 1000),
    lossAtLatencyRate: of((figures) => figures.loss),
    clientBusy: of((figures) => figures.clientBusy),
    latencyRate,
    ...(errors.length === 0 ? {} : { error: errors.join('; ') }),
  };
}

export interface StormRow {
  readonly model: string;
  readonly mode: string;
  readonly bandwidth: string;
  readonly bootBytes: string;
  readonly count: number;
  readonly booted: number;
  readonly makespanRatio: number | null;
  readonly restarts: number;
  readonly seconds: number;
  readonly note?: string;
  readonly error?: string;
}

export interface Trial {
  readonly rate: number;
  readonly ok: boolean;
}

export const highestTrialRate = 200_000;
const lowestTrialRate = 8;
/** The search ends when what held and what did not are this close. */
const closeEnough = 1.15;

/**
 * The rate to try next on the way to the highest one that a server holds: double until it fails, or halve until it
 * holds, then half way between in ratio. Undefined when the search is over.
 */
export function nextRate(from: number, trials: readonly Trial[]): number | undefined {
  const held = Math.max(0, ...trials.filter((trial) => trial.ok).map((trial) => trial.rate));
  const failed = Math.min(Number.POSITIVE_INFINITY, ...trials.filter((trial) => !trial.ok && trial.rate > held).map((trial) => trial.rate));
  if (trials.length === 0) {
    return from;
  }
  if (failed === Number.POSITIVE_INFINITY) {
    return held >= highestTrialRate ? undefined : Math.min(highestTrialRate, held * 2);
  }
  if (held === 0) {
    return failed <= lowestTrialRate ? undefined : Math.max(lowestTrialRate, Math.round(failed / 2));
  }
  return failed / held <= closeEnough ? undefined : Math.round(Math.sqrt(held * failed));
}
