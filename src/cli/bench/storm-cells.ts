/** Many boards switched on at once: `cardless sim` in a lab of its own, on a link of a given speed. */
import { join } from 'node:path';
import { z } from 'zod';
import { projectRoot } from '../../config/places.ts';
import { messageOf, UserError } from '../../domain/errors.ts';
import { run } from '../../process/run.ts';
import { preferred } from './contender.ts';
import type { StormRow } from './figures.ts';
import type { BenchProgress } from './progress.ts';

export interface StormCell {
  readonly model: string;
  readonly count: number;
  readonly mode: 'full' | 'proxy';
  readonly bandwidth: string;
  readonly bootBytes: string;
  /** TFTP_FILE_TIMEOUT of the boards; by default the firmware's own. */
  readonly fileTimeout?: string;
  /** What differs from the goal's own numbers, and why. */
  readonly note?: string;
  readonly plannedSeconds: number;
}

const SimResult = z.object({
  booted: z.number(),
  count: z.number(),
  makespanRatio: z.number().nullable().optional(),
  restarts: z.number().default(0),
});

export interface StormOptions {
  readonly cells: readonly StormCell[];
  readonly state: string;
  readonly progress: BenchProgress;
  readonly signal: AbortSignal;
}

export async function measureStorm({ cells, state, progress, signal }: StormOptions): Promise<StormRow[]> {
  const rows: StormRow[] = [];
  for (const cell of cells) {
    progress.show(`storm, ${cell.count} x ${cell.model}, ${cell.bandwidth}`);
    rows.push(await measureCell(cell, state, signal));
    progress.add(cell.plannedSeconds);
  }
  return rows;
}

async function measureCell(cell: StormCell, state: string, signal: AbortSignal): Promise<StormRow> {
  const { plannedSeconds: _planned, fileTimeout: _fileTimeout, ...facts } = cell;
  const startedAt = Date.now();
  const seconds = (): number => Math.round((Date.now() - startedAt) / 100) / 10;
  const patience = cell.fileTimeout === undefined ? [] : ['--file-timeout', cell.fileTimeout];
  const words = [
    ...patience,
    '--lab',
    '--model',
    cell.model,
    '--count',
    `${cell.count}`,
    '--mode',
    cell.mode,
    '--bandwidth',
    cell.bandwidth,
  ];
  const args = [join(projectRoot, 'src/main.ts'), '--state', state, 'sim', ...words, '--boot-bytes', cell.bootBytes, '--json'];
  const said: string[] = [];
  try {
    // It exits with 1 when not all boards are up, which is a result and no failure of the measurement.
    const failure = await run('setsid', [...preferred([process.execPath, args]).flat()], {
      signal,
      onLine: (line) => said.push(line),
    }).then(
      () => undefined,
      (error: unknown) => error,
    );
    const result = simResult(said);
    if (!result) {
      throw failure ?? new UserError('failed', 'cardless sim printed no result');
    }
    const { booted, restarts, makespanRatio = null } = result;
    return { ...facts, count: result.count, booted, restarts, makespanRatio, seconds: seconds() };
  } catch (error) {
    if (signal.aborted || (error instanceof UserError && error.code === 'cancelled')) {
      throw error;
    }
    const reason = said.slice(-2).join(' ') || messageOf(error);
    return { ...facts, booted: 0, restarts: 0, makespanRatio: null, seconds: seconds(), error: `not available: ${reason}` };
  }
}

/** The last line of what it said that is its result; lines of its log may come after it. */
function simResult(said: readonly string[]): z.infer<typeof SimResult> | undefined {
  for (const line of said.filter((text) => text.startsWith('{')).toReversed()) {
    const result = SimResult.safeParse(parseJson(line));
    if (result.success) {
      return result.data;
    }
  }
  return undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
