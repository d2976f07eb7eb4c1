/** What is made of the boots: medians, rows with ratios, and whether the goals are met. */
import { median, rounded } from '../figures.ts';
import type { Goal } from '../goals.ts';

export const linkNames = ['1gbit', '100mbit'] as const;
export type LinkName = (typeof linkNames)[number];

export const contenderNames = ['ours', 'ltsp', 'nfs'] as const;
export type ContenderName = (typeof contenderNames)[number];

export interface RootCell {
  readonly link: LinkName;
  readonly guests: number;
}

/** One time that so many guests were switched on together. */
export interface BootFigures {
  /** Until the last of them was ready. */
  readonly seconds: number;
  /** All through the server's port until then, both directions. */
  readonly bytes: number;
  readonly serverCpuSeconds: number;
  /** What the server's processes have more than before. */
  readonly serverMemoryBytes: number;
}

/** Medians of the runs. Everything but the seconds is per node. */
export interface ContenderFigures {
  readonly seconds: number;
  readonly megabytes: number;
  readonly serverCpuSeconds: number;
  readonly serverMemoryMiB: number;
  readonly runs: number;
}

export interface RootRow extends RootCell {
  /** Ours by the better peer's, per figure; null when either is missing. */
  readonly bytesRatio: number | null;
  readonly secondsRatio: number | null;
  readonly ours: ContenderFigures | null;
  readonly ltsp: ContenderFigures | null;
  readonly nfs: ContenderFigures | null;
  /** Why a contender has no figures, or fewer runs than planned. */
  readonly errors: readonly string[];
}

export type ByContender<T> = Readonly<Record<ContenderName, T>>;

export function rootRow(cell: RootCell, runs: ByContender<readonly BootFigures[]>, errors: readonly string[]): RootRow {
  const figures = (name: ContenderName): ContenderFigures | null => medians(runs[name], cell.guests);
  const all = { ours: figures('ours'), ltsp: figures('ltsp'), nfs: figures('nfs') };
  const ratio = (what: 'megabytes' | 'seconds'): number | null => {
    const peers = [all.ltsp, all.nfs].flatMap((peer) => (peer === null ? [] : [peer[what]]));
    return all.ours === null || peers.length === 0 ? null : rounded(all.ours[what] / Math.min(...peers));
  };
  return { ...cell, bytesRatio: ratio('megabytes'), secondsRatio: ratio('seconds'), ...all, errors };
}

function medians(runs: readonly BootFigures[], guests: number): ContenderFigures | null {
  if (runs.length === 0) {
    return null;
  }
  const of = (what: (run: BootFigures) => number): number => rounded(median(runs.map(what)));
  return {
    seconds: of((run) => run.seconds),
    megabytes: of((run) => run.bytes / guests / 1e6),
    serverCpuSeconds: of((run) => run.serverCpuSeconds / guests),
    serverMemoryMiB: of((run) => run.serverMemoryBytes / guests / 2 ** 20),
    runs: runs.length,
  };
}

/** Reading the whole root over NBD, by the same bytes over plain TCP on the same link. */
export interface ThroughputRow {
  readonly link: LinkName;
  readonly requestKiB: number;
  readonly depth: number;
  readonly nbdMegabytesPerSecond: number;
  readonly rawMegabytesPerSecond: number;
  readonly ratio: number;
}

export interface ManyClients {
  readonly clients: number;
  readonly serverMemoryMiBPerClient: number;
  readonly serverMemoryMiBBefore: number;
  readonly secondsToConnect: number;
}

/** What a boot fetches before its root: the same for every boot, so it is told once. */
export interface BootFiles {
  readonly kernel: number;
  readonly initramfs: number;
  readonly root: number;
}

export interface RootMeasured {
  readonly rows: readonly RootRow[];
  readonly throughput: readonly ThroughputRow[];
  readonly manyClients: ManyClients | null;
  readonly bootFiles: ByContender<BootFiles>;
}

const bytesGoal = 0.5;
const secondsGoal = 2 / 3;

export function rootGoals(rows: readonly RootRow[]): Goal[] {
  return rows.flatMap((row) => {
    const name = `${row.guests === 1 ? '1 guest' : `${row.guests} guests`}, ${row.link}`;
    return [
      atMost(`${name}: bytes by the better peer's`, bytesGoal, row.bytesRatio),
      atMost(`${name}: seconds to ready by the better peer's`, secondsGoal, row.secondsRatio),
    ];
  });
}

function atMost(name: string, want: number, got: number | null): Goal {
  return { name, want: `<= ${rounded(want)}`, got: got === null ? 'not measured' : `${got}`, met: got !== null && got <= want };
}
