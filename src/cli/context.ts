import type { Places } from '../config/places.ts';
import { UserError } from '../domain/errors.ts';

/** What every command gets besides its own options. */
export interface Context {
  readonly places: Places;
  readonly json: boolean;
  readonly signal: AbortSignal;
  readonly env: NodeJS.ProcessEnv;
  /** A line of the result, on stdout. */
  readonly print: (line: string) => void;
  /** Anything else, on stderr. */
  readonly note: (line: string) => void;
}

/** @throws UserError not-permitted */
export function requireRoot(what: string): void {
  if (process.getuid?.() !== 0) {
    throw new UserError('not-permitted', `${what} needs root`, { hint: 'Run it with sudo' });
  }
}
