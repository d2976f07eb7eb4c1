import { UserError } from './errors.ts';

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `500ms`, `10s`, `2m`, `1h`, and a plain number of seconds; in milliseconds. @throws UserError bad-input */
export function parseDuration(input: string): number {
  const [, number = '', unit = 's'] = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)?$/.exec(input.trim()) ?? [];
  const ms = Math.round(Number(number) * (unitsMs[unit] ?? 1000));
  if (number === '' || ms > 7 * 24 * 3_600_000) {
    throw new UserError('bad-input', `"${input}" is not a time`, { hint: 'Examples: 500ms, 10s, 2m, 1h; a week at most' });
  }
  return ms;
}
