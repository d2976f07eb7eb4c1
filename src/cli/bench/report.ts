/** How the results look to people: aligned columns on a terminal, tables of Markdown in the documentation. */
import { table } from '../format.ts';
import type { DhcpRow, FairnessRow, FaultRow, StormRow, TftpRow } from './figures.ts';
import type { Goal, Measured } from './goals.ts';

export interface Machine {
  readonly cores: number;
  readonly node: string;
  readonly kernel: string;
}

export interface Report extends Measured {
  readonly ok: boolean;
  readonly machine: Machine;
  readonly seconds: number;
  readonly goals: readonly Goal[];
}

interface Section {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export function textReport(report: Report): string {
  const sections = sectionsOf(report).map(({ title, head, rows }) => `${title}\n${table(head, rows)}`);
  const met = report.goals.filter((goal) => goal.met).length;
  return [...sections, `${met} of ${report.goals.length} goals met`].join('\n\n');
}

export function markdownReport(report: Report): string {
  const { cores, node, kernel } = report.machine;
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '/')).join(' | ')} |`;
  const sections = sectionsOf(report).map(
    ({ title, head, rows }) => `### ${title}\n\n${[line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')}`,
  );
  return [`Machine: ${cores} cores, Linux ${kernel}, Node ${node}. The run took ${report.seconds} s.`, ...sections].join('\n\n');
}

const beginMark = '<!-- tables of bench protocols: begin -->';
const endMark = '<!-- tables of bench protocols: end -->';

/** A document with the tables in place of those between its marks; without marks, the tables alone. */
export function withTables(document: string, tables: string): string {
  const [begin, end] = [document.indexOf(beginMark), document.indexOf(endMark)];
  if (begin === -1 || end < begin) {
    return `${tables}\n`;
  }
  return `${document.slice(0, begin + beginMark.length)}\n\n${tables}\n\n${document.slice(end)}`;
}

function sectionsOf(report: Report): Section[] {
  const all = [
    tftpSection(report.tftp),
    fairnessSection(report.fairness),
    faultSection(report.faults),
    dhcpSection(report.dhcp),
    stormSection(report.storm),
    goalSection(report.goals),
  ];
  return all.filter((section) => section.rows.length > 0);
}

function tftpSection(rows: readonly TftpRow[]): Section {
  return {
    title: 'TFTP throughput, MB/s',
    head: [
      'clients',
      'blksize',
      'window',
      'ours',
      'dnsmasq',
      'tftpd-hpa',
      'x best peer',
      'p99 block us (ours/d/h)',
      'CPU s/GB (ours/d/h)',
      'failed',
    ],
    rows: rows.map((row) => [
      `${row.clients}`,
      `${row.blksize}`,
      row.windowsizeGranted === row.windowsize ? `${row.windowsize}` : `${row.windowsize} (got ${row.windowsizeGranted})`,
      withSpread(row, 'ours'),
      withSpread(row, 'dnsmasq'),
      withSpread(row, 'tftpd-hpa'),
      ratio(row.ratioToBest),
      three(row.p99BlockUs, 'tftpd-hpa'),
      three(row.cpuSecondsPerGb, 'tftpd-hpa'),
      `${row.failed}`,
    ]),
  };
}

function withSpread(row: TftpRow, server: 'ours' | 'dnsmasq' | 'tftpd-hpa'): string {
  const range = row.spread[server];
  return range ? `${row[server]} (${range[0]}-${range[1]})` : `${row[server]}`;
}

function three(values: Readonly<Record<string, number>>, third: 'tftpd-hpa' | 'kea'): string {
  return ['ours', 'dnsmasq', third].map((server) => values[server] ?? '-').join(' / ');
}

function fairnessSection(rows: readonly FairnessRow[]): Section {
  return {
    title: "Fairness: slowest client's time by the fastest one's",
    head: ['clients', 'blksize', 'ours', 'dnsmasq', 'tftpd-hpa'],
    rows: rows.map((row) => [`${row.clients}`, `${row.blksize}`, `${row.ours}`, `${row.dnsmasq}`, `${row['tftpd-hpa']}`]),
  };
}

function faultSection(rows: readonly FaultRow[]): Section {
  const seconds = (row: FaultRow, server: 'ours' | 'dnsmasq' | 'tftpd-hpa'): string =>
    `${row[server] ?? `over ${row.limitSeconds}`} (${row.completed[server] ?? '-'})`;
  return {
    title: 'TFTP on bad links, lock-step, seconds (transfers completed)',
    head: ['MB', 'loss', 'dup', 'reorder', 'ours', 'dnsmasq', 'tftpd-hpa', 'x best peer'],
    rows: rows.map((row) => [
      `${row.bytes / 1e6}`,
      ...[row.loss, row.dup, row.reorder].map((share) => `${share * 100} %`),
      seconds(row, 'ours'),
      seconds(row, 'dnsmasq'),
      seconds(row, 'tftpd-hpa'),
      `${row.dnsmasq === null && row['tftpd-hpa'] === null && row.ratioToBest !== null ? 'over ' : ''}${ratio(row.ratioToBest)}`,
    ]),
  };
}

function dhcpSection(rows: readonly DhcpRow[]): Section {
  const rate = rows[0]?.latencyRate ?? 0;
  return {
    title: 'DHCP, full exchanges per second at under 1 % loss',
    head: [
      'clients',
      'ours',
      'dnsmasq',
      'kea',
      'x best peer',
      'first leases/s (ours/d/k)',
      `OFFER p50 ms at ${rate}/s`,
      `OFFER p99 ms at ${rate}/s`,
    ],
    rows: rows.map((row) => [
      `${row.clients}`,
      `${row.ours}`,
      `${row.dnsmasq}`,
      `${row.kea}`,
      ratio(row.ratioToBest),
      three(row.firstLeases, 'kea'),
      three(row.offerP50Ms, 'kea'),
      three(row.offerP99Ms, 'kea'),
    ]),
  };
}

function stormSection(rows: readonly StormRow[]): Section {
  return {
    title: 'Storm',
    head: ['model', 'count', 'mode', 'link', 'boot bytes', 'booted', 'makespan / line rate', 'restarts', 'seconds', 'note'],
    rows: rows.map((row) => [
      row.model,
      `${row.count}`,
      row.mode,
      row.bandwidth,
      row.bootBytes,
      `${row.booted}`,
      row.makespanRatio === null ? '-' : `${row.makespanRatio}`,
      `${row.restarts}`,
      `${row.seconds}`,
      row.error ?? row.note ?? '',
    ]),
  };
}

function goalSection(goals: readonly Goal[]): Section {
  return {
    title: 'Goals',
    head: ['goal', 'want', 'got', 'met'],
    rows: goals.map((goal) => [goal.name, goal.want, goal.got, goal.met ? 'yes' : 'NO']),
  };
}

function ratio(value: number | null): string {
  return value === null ? '-' : `${value}`;
}
