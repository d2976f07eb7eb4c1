/** Processor time of a server with its threads and all its children, those that ended included. */
import { mkdir, readdir, readFile, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlive } from '../../process/signal.ts';

/** Where cgroup version 2 is mounted: alone, or beside version 1. */
const mounts = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'];
const namePattern = /^cardless-(\d+)-/;

/**
 * A control group, because tftpd-hpa has a child for each transfer and lets the kernel forget it: its time would be in
 * no other account.
 */
export class CpuAccount implements AsyncDisposable {
  readonly #directory: string | undefined;

  private constructor(directory: string | undefined) {
    this.#directory = directory;
  }

  /** Where there are no control groups, its seconds are unknown. */
  static async open(name: string): Promise<CpuAccount> {
    for (const mount of mounts) {
      await removeLeftovers(mount);
      const directory = join(mount, `cardless-${process.pid}-${name}`);
      const isMade = await mkdir(directory)
        .then(() => readFile(join(directory, 'cpu.stat'), 'utf8'))
        .then(
          (text) => usageSeconds(text) !== undefined,
          () => false,
        );
      if (isMade) {
        return new CpuAccount(directory);
      }
      await rmdir(directory).catch(() => undefined);
    }
    return new CpuAccount(undefined);
  }

  /** The command line as one that enters the account first. */
  charge([file, args]: readonly [string, readonly string[]]): readonly [string, readonly string[]] {
    if (this.#directory === undefined) {
      return [file, args];
    }
    return ['sh', ['-c', 'echo $$ >"$0" && exec "$@"', join(this.#directory, 'cgroup.procs'), file, ...args]];
  }

  /** NaN where it is unknown. */
  async seconds(): Promise<number> {
    if (this.#directory === undefined) {
      return Number.NaN;
    }
    return usageSeconds(await readFile(join(this.#directory, 'cpu.stat'), 'utf8')) ?? Number.NaN;
  }

  /** Of all its processes: each page is counted once, shared between those that have it (proc(5), smaps_rollup). NaN where unknown. */
  async memoryBytes(): Promise<number> {
    if (this.#directory === undefined) {
      return Number.NaN;
    }
    const pids = (await readFile(join(this.#directory, 'cgroup.procs'), 'utf8')).split('\n').filter((line) => line !== '');
    const sizes = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/smaps_rollup`, 'utf8').then(pssBytes, () => 0)));
    return sizes.reduce((sum, size) => sum + size, 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#directory !== undefined) {
      // A process that is just ending keeps it; the next run removes it then.
      await rmdir(this.#directory).catch(() => undefined);
    }
  }
}

/** Of a cpu.stat file. */
export function usageSeconds(text: string): number | undefined {
  const usage = /^usage_usec (\d+)$/m.exec(text)?.[1];
  return usage === undefined ? undefined : Number(usage) / 1e6;
}

/** Of a smaps_rollup file. */
export function pssBytes(text: string): number {
  return Number(/^Pss: +(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024;
}

async function removeLeftovers(mount: string): Promise<void> {
  for (const name of await readdir(mount).catch(() => [])) {
    const pid = namePattern.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) {
      await rmdir(join(mount, name)).catch(() => undefined);
    }
  }
}
