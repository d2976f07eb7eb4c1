import { open } from 'node:fs/promises';

/** What is in a file, or which names are in a directory, is on the disk when this resolves. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
