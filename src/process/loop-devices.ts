import { readdir, readFile, stat } from 'node:fs/promises';

/** The loop device by which this machine has a file, mounted or not; undefined when there is none. */
export async function loopDeviceOf(file: string): Promise<string | undefined> {
  const wanted = await stat(file);
  for (const name of (await readdir('/sys/block').catch(() => [])).filter((block) => block.startsWith('loop'))) {
    // Only a loop device that is in use has one.
    const backing = await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8').catch(() => undefined);
    const found = backing === undefined ? undefined : await stat(backing.trimEnd()).catch(() => undefined);
    if (found?.dev === wanted.dev && found.ino === wanted.ino) {
      return `/dev/${name}`;
    }
  }
  return undefined;
}
