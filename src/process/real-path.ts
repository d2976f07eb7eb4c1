import { realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Without links in it, as the kernel names open files and mount points. What is not there is named within its real folder. */
export async function realPath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    const parent = dirname(path);
    return parent === path ? path : join(await realPath(parent), basename(path));
  }
}
