import type { Clock } from '../domain/clock.ts';

/** A clock whose timers end with it: boards that are switched off in the middle of a wait must not keep the process. */
export class StoppableClock implements Clock, Disposable {
  readonly #clock: Clock;
  // BOUNDED: a handful for each board.
  readonly #timers = new Set<() => void>();
  #isStopped = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now();
  }

  after(ms: number, action: () => void): () => void {
    if (this.#isStopped) {
      return () => {};
    }
    const cancelTimer = this.#clock.after(ms, () => {
      this.#timers.delete(cancel);
      action();
    });
    const cancel = (): void => {
      this.#timers.delete(cancel);
      cancelTimer();
    };
    this.#timers.add(cancel);
    return cancel;
  }

  [Symbol.dispose](): void {
    this.#isStopped = true;
    for (const cancel of [...this.#timers]) {
      cancel();
    }
  }
}
