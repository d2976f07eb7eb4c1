import { rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { run } from './run.ts';
import { syncPath } from './sync-path.ts';

/**
 * A finished file or folder gets its name: what has it is whole, also after a power cut. The whole file system is written
 * out for a folder, which may have thousands of files.
 */
export async function renameDurably(from: string, to: string): Promise<void> {
  await ((await stat(from)).isDirectory() ? run('sync', ['--file-system', from]) : syncPath(from));
  await rename(from, to);
  await syncPath(dirname(to));
}
