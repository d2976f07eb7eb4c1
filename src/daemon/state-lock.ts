import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { Places } from '../config/places.ts';
import { UserError } from '../domain/errors.ts';
import { tryLock } from '../net/libc.ts';

/** One server per state folder. The lock ends with the process, however it ends. @throws UserError in-use */
export function lockState(places: Places): Disposable {
  mkdirSync(places.state, { recursive: true, mode: 0o700 });
  const fd = openSync(places.lock, 'a+', 0o600);
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
