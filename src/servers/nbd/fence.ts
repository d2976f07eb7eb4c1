/** Who may have a disk open, decided by one script with one lock per disk: nbd-server runs it for each new connection too. */
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../process/run.ts';
import { runUntilTold } from '../../process/run-until-told.ts';

export const fenceScript: string = join(import.meta.dirname, 'fence.sh');

export interface Fences {
  /** Of which process may have which disk open. */
  readonly records: string;
}

/** No process has the disk open any more when this resolves. @throws UserError failed when one does not end */
export async function fenceDisk({ records }: Fences, disk: string): Promise<void> {
  await run('sh', [fenceScript, 'end', records, disk]);
}

/** All disks in a directory: those of one node. */
export async function fenceDisks(fences: Fences, directory: string): Promise<void> {
  const names = await readdir(directory).catch((): string[] => []);
  await Promise.all(names.filter((name) => name.endsWith('.img')).map((name) => fenceDisk(fences, join(directory, name))));
}

/**
 * Nobody writes to this disk until the result is disposed, or until we are gone: neither who has it open nor who connects
 * meanwhile. Their nodes wait. @throws UserError failed, also when disposed: it was not held to the end
 */
export async function holdDisk({ records }: Fences, disk: string): Promise<AsyncDisposable> {
  return await runUntilTold('sh', [fenceScript, 'hold', records, disk], 'held');
}

/** From now on nobody begins to write, and who was stopped stays so. */
export async function closeForWrites({ records }: Fences): Promise<void> {
  await writeFile(join(records, 'full'), '');
}

/** The opposite; false when a disk was held: then it is to be asked for again. */
export async function openForWrites({ records }: Fences): Promise<boolean> {
  await rm(join(records, 'full'), { force: true });
  return (await run('sh', [fenceScript, 'resume', records])) === '';
}
