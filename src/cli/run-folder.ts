import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlive } from '../process/signal.ts';

/**
 * A folder of this process's own below the state folder, so that two runs of the same command do not meet. It is left
 * there to be looked at; the next run removes those whose process has ended.
 */
export async function ownRunFolder(state: string, name: string): Promise<string> {
  await mkdir(state, { recursive: true });
  for (const entry of await readdir(state)) {
    const pid = entry.startsWith(`${name}-`) ? Number(entry.slice(name.length + 1)) : Number.NaN;
    if (Number.isInteger(pid) && !isAlive(pid)) {
      await rm(join(state, entry), { recursive: true, force: true });
    }
  }
  const folder = join(state, `${name}-${process.pid}`);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder);
  return folder;
}
