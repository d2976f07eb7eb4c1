/** Power-on to ready, contender by contender in turn, so that what else this machine does falls on all of them. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, UserError } from '../../../domain/errors.ts';
import { Runs } from '../figures.ts';
import type { BenchProgress } from '../progress.ts';
import type { RootArena, RootContender } from './root-arena.ts';
import { type BootFigures, contenderNames, type RootRow, rootRow } from './root-figures.ts';
import { bootGuests } from './root-guests.ts';
import { type PlannedCell, runSeconds } from './root-plan.ts';

/** So many times what a run should take, and then it is given up: other work on this machine may slow all of them down. */
const patience = 10;

export interface BootCells {
  readonly arena: RootArena;
  readonly cells: readonly PlannedCell[];
  readonly progress: BenchProgress;
  /** A run is long: each row is told as soon as it is there. */
  readonly note: (line: string) => void;
  readonly signal: AbortSignal;
}

export async function measureBoots({ arena, cells, progress, note, signal }: BootCells): Promise<RootRow[]> {
  const rows: RootRow[] = [];
  for (const cell of cells) {
    const runs = new Runs<BootFigures>();
    const errors: string[] = [];
    for (let round = 1; round <= cell.rounds; round += 1) {
      for (const contender of arena.contenders) {
        progress.show(`${cell.guests} x ${contender.server.name}, ${cell.link}, round ${round}`);
        try {
          runs.add(contender.server.name, await bootOnce(arena, contender, cell, signal));
        } catch (error) {
          if (signal.aborted || (error instanceof UserError && error.code === 'cancelled')) {
            throw error;
          }
          errors.push(`${contender.server.name}: ${messageOf(error)}`);
        }
        progress.add(runSeconds(cell));
      }
    }
    const [ours, ltsp, nfs] = contenderNames.map((name) => runs.of(name));
    const row = rootRow({ link: cell.link, guests: cell.guests }, { ours: ours ?? [], ltsp: ltsp ?? [], nfs: nfs ?? [] }, errors);
    note(JSON.stringify(row));
    rows.push(row);
  }
  return rows;
}

async function bootOnce(
  { directory }: RootArena,
  { server, network }: RootContender,
  cell: PlannedCell,
  signal: AbortSignal,
): Promise<BootFigures> {
  await network.shape(cell.link);
  const consoles = join(directory, 'consoles', server.name);
  await rm(consoles, { recursive: true, force: true });
  const before = { cpu: await server.cpuSeconds(), memory: await server.memoryBytes(), bytes: await network.wireBytes() };
  const limitSeconds = patience * runSeconds(cell);
  await using guests = await bootGuests({ lab: network.lab, count: cell.guests, directory: consoles, limitSeconds, signal });
  return {
    seconds: guests.seconds,
    bytes: (await network.wireBytes()) - before.bytes,
    serverCpuSeconds: (await server.cpuSeconds()) - before.cpu,
    serverMemoryBytes: (await server.memoryBytes()) - before.memory,
  };
}
