/** PCs without a disk, switched on together, until the last one says that it is ready. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../../daemon/system-clock.ts';
import { UserError } from '../../../domain/errors.ts';
import { type Mac, parseMac } from '../../../domain/mac.ts';
import { parseSerial, type Serial } from '../../../domain/serial.ts';
import type { Lab } from '../../../sim/lab.ts';
import { VirtualPc } from '../../../sim/machines.ts';

/** What bench/root/bench-ready.service prints. */
const readyMark = 'BENCH-READY';
const failedMarks = ['BENCH-FAILED', 'Kernel panic', 'FAILED at '];
const pollMs = 100;
const tailLines = 12;

export interface Guest {
  readonly name: string;
  readonly mac: Mac;
  readonly serial: Serial;
}

/** The same machines for every contender. */
export function guestAt(index: number): Guest {
  const number = (index + 1).toString(16).padStart(2, '0');
  return {
    name: `guest${index + 1}`,
    mac: parseMac(`52:54:00:77:00:${number}`),
    serial: parseSerial(`77000000-0000-4000-8000-0000000000${number}`),
  };
}

export interface BootGuests {
  readonly lab: Lab;
  readonly count: number;
  /** For their consoles; new for each run. */
  readonly directory: string;
  readonly limitSeconds: number;
  readonly signal: AbortSignal;
}

export interface RunningGuests extends AsyncDisposable {
  /** From power-on to the last one's ready. */
  readonly seconds: number;
}

/** @throws UserError with the end of a console when they are not all ready in time */
export async function bootGuests({ lab, count, directory, limitSeconds, signal }: BootGuests): Promise<RunningGuests> {
  await using stack = new AsyncDisposableStack();
  const machines = Array.from({ length: count }, (_, index) => {
    const { name, mac, serial } = guestAt(index);
    return stack.use(new VirtualPc({ lab, clock: systemClock, mac, serial, directory: join(directory, name), onLine: () => undefined }));
  });
  const startedAt = performance.now();
  await Promise.all(machines.map((machine) => machine.powerOn()));
  let waiting: readonly VirtualPc[] = machines;
  for (;;) {
    const states = await Promise.all(waiting.map(async (machine) => ({ machine, said: await consoleOf(machine) })));
    waiting = states.filter(({ said }) => !said.includes(readyMark)).map(({ machine }) => machine);
    const seconds = (performance.now() - startedAt) / 1000;
    const failed = states.find(({ said }) => failedMarks.some((mark) => said.includes(mark)));
    if (waiting.length === 0) {
      const owned = stack.move();
      return { seconds, [Symbol.asyncDispose]: () => owned.disposeAsync() };
    }
    if (signal.aborted) {
      throw new UserError('cancelled', 'cancelled');
    }
    const late = seconds > limitSeconds ? states.find(({ machine }) => waiting.includes(machine)) : undefined;
    const culprit = failed ?? late;
    if (culprit) {
      const ready = count - waiting.length;
      throw new UserError('failed', `${ready} of ${count} were ready after ${Math.round(seconds)} s:\n${tailOf(culprit.said)}`);
    }
    await sleep(pollMs);
  }
}

async function consoleOf(machine: VirtualPc): Promise<string> {
  return await readFile(machine.consoleFile, 'latin1').catch(() => '');
}

function tailOf(said: string): string {
  return said.split('\n').slice(-tailLines).join('\n');
}
