/** Ending the connections to a disk, by nbd-server for each new one and by us before a disk is checked or replaced. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../process/run.ts';

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
