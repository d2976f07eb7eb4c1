/** How the results look to people: aligned columns on a terminal, a page of Markdown in the documentation. */
import { table } from '../../format.ts';
import type { Goal } from '../goals.ts';
import type { Machine } from '../report.ts';
import { type ContenderFigures, contenderNames, type RootMeasured, type RootRow } from './root-figures.ts';

export interface RootReport extends RootMeasured {
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

export function rootTextReport(report: RootReport): string {
  const sections = sectionsOf(report).map(({ title, head, rows }) => `${title}\n${table(head, rows)}`);
  const errors = errorsOf(report);
  const met = report.goals.filter((goal) => goal.met).length;
  return [...sections, ...(errors.length > 0 ? [errors.join('\n')] : []), `${met} of ${report.goals.length} goals met`].join('\n\n');
}

const beginMark = '<!-- tables of bench root: begin -->';
const endMark = '<!-- tables of bench root: end -->';

/** A document with the tables in place of those between its marks; without marks, a page of its own. */
export function withRootTables(document: string, report: RootReport): string {
  const tables = `${beginMark}\n\n${markdownTables(report)}\n\n${endMark}`;
  const [begin, end] = [document.indexOf(beginMark), document.indexOf(endMark)];
  if (begin === -1 || end < begin) {
    return `# Network roots, measured\n\n${tables}\n`;
  }
  return `${document.slice(0, begin)}${tables}${document.slice(end + endMark.length)}`;
}

function markdownTables(report: RootReport): string {
  const { cores, node, kernel } = report.machine;
  const line = (cells: readonly string[]): string => `| ${cells.map((cell) => cell.replaceAll('|', '/')).join(' | ')} |`;
  const sections = sectionsOf(report).map(
    ({ title, head, rows }) => `## ${title}\n\n${[line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')}`,
  );
  const errors = errorsOf(report);
  const failures = errors.length === 0 ? [] : [`## Runs that failed\n\n\`\`\`\n${errors.join('\n')}\n\`\`\``];
  const machine = `Machine: ${cores} cores, Linux ${kernel}, Node ${node}. The run took ${report.seconds} s.`;
  return [machine, ...sections, ...failures].join('\n\n');
}

function errorsOf({ rows }: RootReport): string[] {
  return rows.flatMap((row) => row.errors.map((error) => `${row.guests} guests, ${row.link}: ${error}`));
}

function sectionsOf(report: RootReport): Section[] {
  const all = [bootSection(report.rows), costSection(report.rows), filesSection(report), throughputSection(report), clientsSection(report)];
  return [...all, goalSection(report.goals)].filter((section) => section.rows.length > 0);
}

function three(row: RootRow, what: (figures: ContenderFigures) => number): string[] {
  return contenderNames.map((name) => (row[name] === null ? '-' : `${what(row[name])}`));
}

function bootSection(rows: readonly RootRow[]): Section {
  return {
    title: 'Power-on to ready',
    head: [
      ...['link', 'guests', 'MB per node: ours', 'LTSP', 'NFS root', 'ours / better peer'],
      ...['seconds to the last one: ours', 'LTSP', 'NFS root', 'ours / better peer', 'runs'],
    ],
    rows: rows.map((row) => [
      ...[row.link, `${row.guests}`, ...three(row, (figures) => figures.megabytes), ratio(row.bytesRatio)],
      ...[...three(row, (figures) => figures.seconds), ratio(row.secondsRatio), three(row, (figures) => figures.runs).join(' / ')],
    ]),
  };
}

function costSection(rows: readonly RootRow[]): Section {
  return {
    title: 'What a node costs the server',
    head: ['link', 'guests', 'CPU seconds: ours', 'LTSP', 'NFS root', 'MiB of memory: ours', 'LTSP', 'NFS root'],
    rows: rows.map((row) => [
      ...[row.link, `${row.guests}`, ...three(row, (figures) => figures.serverCpuSeconds)],
      ...three(row, (figures) => figures.serverMemoryMiB),
    ]),
  };
}

function filesSection({ rows, bootFiles }: RootReport): Section {
  const size = (bytes: number): string => (bytes / 1e6).toFixed(1);
  const names = { ours: 'ours', ltsp: 'LTSP', nfs: 'NFS root' } as const;
  return {
    title: 'Sizes in MB',
    head: ['', 'kernel', 'initramfs', 'root'],
    rows:
      rows.length === 0
        ? []
        : contenderNames.map((name) => {
            const { kernel, initramfs, root } = bootFiles[name];
            return [names[name], size(kernel), size(initramfs), size(root)];
          }),
  };
}

function throughputSection({ throughput }: RootReport): Section {
  return {
    title: 'Reading the whole root over NBD, MB/s',
    head: ['link', 'request KiB', 'under way', 'NBD', 'plain TCP', 'NBD / plain'],
    rows: throughput.map((row) => [
      ...[row.link, `${row.requestKiB}`, `${row.depth}`],
      ...[`${row.nbdMegabytesPerSecond}`, `${row.rawMegabytesPerSecond}`, `${row.ratio}`],
    ]),
  };
}

function clientsSection({ manyClients }: RootReport): Section {
  return {
    title: 'NBD clients connected at once',
    head: ['clients', 'MiB per client', 'MiB of the server before', 'seconds to connect and read 1 MiB each'],
    rows:
      manyClients === null
        ? []
        : [
            [
              ...[`${manyClients.clients}`, `${manyClients.serverMemoryMiBPerClient}`],
              ...[`${manyClients.serverMemoryMiBBefore}`, `${manyClients.secondsToConnect}`],
            ],
          ],
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
