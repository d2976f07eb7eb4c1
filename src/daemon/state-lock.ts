import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Places } from '../config/places.ts';
import { messageOf, systemCode, UserError } from '../domain/errors.ts';
import { tryLock } from '../net/libc.ts';

const commandsMs = 15_000;
const lookMs = 100;
const ofCommand = 'for a command';

/**
 * One server per state folder. The lock ends with the process, however it ends. A server that was started for one command
 * ends with it, so that one is waited for.
 * @throws UserError in-use, cancelled
 */
export async function lockState(places: Places, isForCommand: boolean, signal: AbortSignal): Promise<Disposable> {
  const fd = openLock(places);
  const deadline = Date.now() + commandsMs;
  while (!tryLock(fd)) {
    const owner = readFileSync(places.lock, 'utf8').trim();
    if (signal.aborted || !owner.endsWith(ofCommand) || Date.now() > deadline) {
      closeSync(fd);
      throw refusal(places, owner, signal.aborted);
    }
    await sleep(lookMs);
  }
  ftruncateSync(fd);
  writeSync(fd, `${process.pid}${isForCommand ? ` ${ofCommand}` : ''}\n`);
  return { [Symbol.dispose]: () => closeSync(fd) };
}

function refusal({ state }: Places, owner: string, isCancelled: boolean): UserError {
  if (isCancelled) {
    return new UserError('cancelled', 'Waiting for the server of another command was cancelled');
  }
  const [pid = ''] = owner.split(' ');
  return new UserError('in-use', `Another Cardless server${pid === '' ? '' : ` (pid ${pid})`} uses the state folder ${state}`, {
    hint: owner.endsWith(ofCommand)
      ? 'A command started it, and it ends with its jobs: cardless job list'
      : 'Stop it first, or give this one a folder of its own with --state',
  });
}

function openLock({ state, lock }: Places): number {
  try {
    mkdirSync(state, { recursive: true, mode: 0o700 });
    return openSync(lock, 'a+', 0o600);
  } catch (error) {
    const code = systemCode(error) === 'EACCES' ? 'not-permitted' : 'failed';
    throw new UserError(code, `The state folder ${state} cannot be used: ${messageOf(error)}`, {
      cause: error,
      hint: 'Give another one with --state, or run it with sudo',
    });
  }
}
