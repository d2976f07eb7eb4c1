/** Processes that a test stops: they go on, or end, however the test ends. */
import { readdir, readFile } from 'node:fs/promises';
import { signalProcess } from '#src/process/signal.ts';

/** They stand still until the result is disposed. Those that are gone by then were ended by somebody else. */
export function stopProcesses(pids: readonly number[]): Disposable {
  for (const pid of pids) {
    signalProcess(pid, 'SIGSTOP');
  }
  return {
    [Symbol.dispose]: () => {
      for (const pid of pids) {
        signalProcess(pid, 'SIGCONT');
      }
    },
  };
}

/** All of one nbd-server, parent first. Its children have its arguments. */
export async function nbdPids(config: string): Promise<number[]> {
  const all = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const ours = await Promise.all(
    all.map(async (pid) => (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0').includes(config)),
  );
  return all.filter((_, index) => ours[index]).map(Number);
}

/** A stopped process does not heed SIGTERM, and children outlive a parent that was killed. */
export async function endNbd(config: string, server: AsyncDisposable): Promise<void> {
  for (const pid of await nbdPids(config)) {
    signalProcess(pid, 'SIGCONT');
  }
  await server[Symbol.asyncDispose]();
  for (const pid of await nbdPids(config)) {
    signalProcess(pid, 'SIGKILL');
  }
}
