/** Which nbd-server processes have a file open: each connection of a node is a process of its own. */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { signalProcess } from './signal.ts';

const program = 'nbd-server';
const goneTimeoutMs = 5000;
const lookEveryMs = 20;

export interface DiskHolder {
  readonly pid: number;
  /** As it was opened, followed by ` (deleted)` once another file took its name. */
  readonly file: string;
}

/** Holders of files at or below any of these paths. */
export async function holdersOf(paths: readonly string[]): Promise<DiskHolder[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(pids.map((pid) => filesOf(Number(pid), paths)));
  return found.flat();
}

async function filesOf(pid: number, paths: readonly string[]): Promise<DiskHolder[]> {
  // A process may end at any moment of this.
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
  if (name.trim() !== program) {
    return [];
  }
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const files = await Promise.all(descriptors.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
  const isOurs = (file: string): boolean =>
    paths.some((path) => file === path || file === `${path} (deleted)` || file.startsWith(`${path}/`));
  return [...new Set(files)].filter(isOurs).map((file) => ({ pid, file }));
}

/** Ends every connection to these files; resolves when no process has them open. @throws Error when one does not end */
export async function endHolders(paths: readonly string[]): Promise<number> {
  const deadline = Date.now() + goneTimeoutMs;
  const ended = new Set<number>();
  for (;;) {
    const holders = await holdersOf(paths);
    if (holders.length === 0) {
      return ended.size;
    }
    if (Date.now() > deadline) {
      throw new Error(`nbd-server processes do not end: ${holders.map(({ pid }) => pid).join(', ')}`);
    }
    for (const { pid } of holders) {
      ended.add(pid);
      signalProcess(pid, 'SIGKILL');
    }
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}

/** Their nodes wait for their disks. A write to a file that is under way still ends. */
export async function stopHolders(paths: readonly string[]): Promise<void> {
  for (const { pid } of await holdersOf(paths)) {
    signalProcess(pid, 'SIGSTOP');
  }
}
