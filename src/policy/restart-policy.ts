/** When a child that ended is started again. */
export interface RestartHistory {
  /** When each earlier failure happened, in milliseconds, oldest first. */
  readonly failures: readonly number[];
}

const firstDelayMs = 100;
const maxDelayMs = 10_000;
/** Failures further back than this no longer count. */
const memoryMs = 60_000;

/** Waits 100 ms after the first failure, twice as long after each further one within a minute. */
export function nextRestart(history: RestartHistory, now: number): { readonly delayMs: number; readonly history: RestartHistory } {
  const failures = [...history.failures.filter((at) => now - at < memoryMs), now];
  return { delayMs: Math.min(firstDelayMs * 2 ** (failures.length - 1), maxDelayMs), history: { failures } };
}
