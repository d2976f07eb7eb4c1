import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';

export type { Logger } from 'pino';

/** JSON lines on stdout for the journal; readable lines on a terminal. */
export function createLogger(options: { readonly level: string; readonly terminal: boolean }): Logger {
  const base = { level: options.level, base: null };
  return options.terminal
    ? pino(base, pretty({ colorize: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss', sync: true }))
    : pino({ ...base, timestamp: pino.stdTimeFunctions.isoTime });
}
