/** What a run of the simulator came to, for programs and for people. */
import { z } from 'zod';
import { bytes, progressLine, table } from '../format.ts';

const BoardReport = z.object({
  serial: z.string(),
  mac: z.string(),
  /** Its own, and that of the boot server; absent before it had them. */
  address: z.string().exactOptional(),
  server: z.string().exactOptional(),
  booted: z.boolean(),
  seconds: z.number(),
  bytes: z.number(),
  restarts: z.number(),
  violations: z.array(z.string()).readonly(),
  failure: z.string().exactOptional(),
});

export const SimReport = z.object({
  ok: z.boolean(),
  model: z.string(),
  count: z.number(),
  booted: z.number(),
  failed: z.number(),
  violations: z.number(),
  seconds: z.number(),
  bytes: z.number(),
  /** With a bandwidth: the time from the first DISCOVER to the last kernel, over what the payload alone takes on the line. */
  makespanRatio: z.number().optional(),
  makespanSeconds: z.number(),
  restarts: z.number(),
  /** Processor time of the simulator itself: near `seconds`, it and not the server sets the pace. */
  cpuSeconds: z.number(),
  boards: z.array(BoardReport),
});
export type SimReport = z.infer<typeof SimReport>;
export type BoardReport = z.infer<typeof BoardReport>;

export interface ReportFacts {
  readonly model: string;
  readonly boards: readonly BoardReport[];
  readonly seconds: number;
  readonly makespanSeconds: number;
  readonly cpuSeconds: number;
  readonly bitsPerSecond?: number;
}

export function simReport({ model, boards, seconds, makespanSeconds, cpuSeconds, bitsPerSecond }: ReportFacts): SimReport {
  const sum = (of: (board: BoardReport) => number): number => boards.reduce((total, board) => total + of(board), 0);
  const booted = boards.filter((board) => board.booted && board.violations.length === 0).length;
  const total = sum((board) => board.bytes);
  const lineSeconds = bitsPerSecond === undefined ? 0 : (total * 8) / bitsPerSecond;
  return {
    ok: booted === boards.length,
    model,
    count: boards.length,
    booted,
    failed: boards.length - booted,
    violations: sum((board) => board.violations.length),
    seconds: rounded(seconds),
    bytes: total,
    ...(lineSeconds > 0 ? { makespanRatio: rounded(makespanSeconds / lineSeconds) } : {}),
    makespanSeconds: rounded(makespanSeconds),
    restarts: sum((board) => board.restarts),
    cpuSeconds: rounded(cpuSeconds),
    boards: boards.map((board) => ({ ...board, seconds: rounded(board.seconds) })),
  };
}

const shownBoards = 20;

export function reportText(report: SimReport): string {
  const bad = report.boards.filter((board) => !board.booted || board.violations.length > 0);
  const shown = (bad.length > 0 ? bad : report.boards).slice(0, shownBoards);
  const rows = shown.map((board) => [
    board.serial,
    board.mac,
    board.booted ? 'yes' : 'no',
    board.seconds.toFixed(1),
    bytes(board.bytes),
    String(board.restarts),
    board.violations[0] ?? board.failure ?? '-',
  ]);
  const hidden = (bad.length > 0 ? bad : report.boards).length - shown.length;
  const ratio = report.makespanRatio === undefined ? '' : `, ${report.makespanRatio.toFixed(2)} times what the line needs`;
  return [
    table(['SERIAL', 'MAC', 'BOOTED', 'SECONDS', 'BYTES', 'RESTARTS', 'WHAT'], rows),
    ...(hidden > 0 ? [`and ${hidden} more`] : []),
    `${report.booted} of ${report.count} ${report.model} booted, ${bytes(report.bytes)} in ${report.makespanSeconds.toFixed(1)} s${ratio}, ` +
      `${report.restarts} restarts, ${report.violations} violations`,
  ].join('\n');
}

export interface Progress {
  readonly done: number;
  readonly count: number;
  readonly bytes: number;
  readonly expectedBytes: number | undefined;
  readonly elapsedMs: number;
}

export function progressText({ done, count, bytes: got, expectedBytes, elapsedMs }: Progress): string {
  const phase = `${done} of ${count} boards up, ${bytes(got)}`;
  const fraction = expectedBytes === undefined ? done / count : got / (expectedBytes * count);
  return progressLine(phase, Math.min(1, fraction), elapsedMs);
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}
