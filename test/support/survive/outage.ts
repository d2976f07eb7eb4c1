/** What is done to a server while guests write. */
import { readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { signalProcess } from '#src/process/signal.ts';
import { labBridge } from '#src/sim/lab.ts';
import { ran, type TestLab, until } from '../lab-server.ts';
import { nbdPids, stopProcesses } from '../stopped.ts';
import type { Guest } from './guest.ts';

const settleMs = 180_000;
const askEveryMs = 1000;

/** nbd-server of a lab, parent and children. */
export async function nbdProcesses(lab: TestLab): Promise<number[]> {
  return await nbdPids(join(lab.state, 'run', labBridge, 'nbd-server.conf'));
}

/** The processes that have a guest's overlay open. */
export async function overlayHolders(lab: TestLab, guest: Guest): Promise<number[]> {
  const disk = await guest.disk();
  const holds = await Promise.all(
    (await nbdProcesses(lab)).map(async (pid) => {
      const descriptors = await readdir(`/proc/${pid}/fd`).catch((): string[] => []);
      const files = await Promise.all(descriptors.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
      return files.includes(disk) ? [pid] : [];
    }),
  );
  return holds.flat();
}

export async function killNbd(lab: TestLab): Promise<number> {
  const pids = await nbdProcesses(lab);
  for (const pid of pids) {
    signalProcess(pid, 'SIGKILL');
  }
  return pids.length;
}

/** nbd-server is gone, all of it, and nobody starts it again before the time is over. */
export async function nbdAway(lab: TestLab, seconds: number): Promise<void> {
  using _away = stopProcesses([lab.server.pid ?? 0]);
  await killNbd(lab);
  await sleep(seconds * 1000);
}

/** Every process of the server is there and does nothing. */
export async function frozen(lab: TestLab, during: () => Promise<void>): Promise<void> {
  using _stopped = stopProcesses([lab.server.pid ?? 0, ...(await nbdProcesses(lab))]);
  await during();
}

export async function setLink(lab: TestLab, guests: readonly Guest[], state: 'up' | 'down'): Promise<void> {
  for (const guest of guests) {
    await ran('ip', ['-n', lab.lab.namespace, 'link', 'set', guest.pc.tap, state]);
  }
}

/** Each guest writes lines that it had not written before, and compares a file and the root once more. */
export async function allWrite(guests: readonly Guest[]): Promise<void> {
  await Promise.all(
    guests.map(async (guest) => {
      const before = await guest.progress();
      const goesOn = async (): Promise<boolean> => {
        // Asking costs the guest time that it needs for its work.
        await sleep(askEveryMs);
        const now = await guest.progress();
        return now.written > before.written && now.passes > before.passes;
      };
      await until(goesOn, `${guest.name} to write again`, settleMs);
    }),
  );
}
