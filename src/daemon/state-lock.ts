import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { Places } from '../config/places.ts';
import { messageOf, systemCode, UserError } from '../domain/errors.ts';
import { tryLock } from '../net/libc.ts';

/** One server per state folder. The lock ends with the process, however it ends. @throws UserError in-use */
export function lockState(places: Places): Disposable {
  const fd = openLock(places);
  if (!tryLock(fd)) {
    const owner = readFileSync(places.lock, 'utf8').trim();
    closeSync(fd);
    throw new UserError('in-use', `Another Cardless server${owner === '' ? '' : ` (pid ${owner})`} uses the state folder ${places.state}`, {
      hint: 'Stop it first, or give this one a folder of its own with --state',
    });
  }
  ftruncateSync(fd);
  writeSync(fd, `${process.pid}\n`);
  return { [Symbol.dispose]: () => closeSync(fd) };
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
