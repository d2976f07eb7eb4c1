import { setImmediate as breathe } from 'node:timers/promises';
import type { Clock } from '#src/domain/clock.ts';

/** Time that stands still until a test moves it. */
export class FakeClock implements Clock {
  #now = 0;
  #order = 0;
  readonly #timers = new Map<number, { readonly at: number; readonly action: () => void }>();

  now(): number {
    return this.#now;
  }

  after(ms: number, action: () => void): () => void {
    this.#order += 1;
    const id = this.#order;
    this.#timers.set(id, { at: this.#now + ms, action });
    return () => {
      this.#timers.delete(id);
    };
  }

  get pending(): number {
    return this.#timers.size;
  }

  /** Lets timers fire in order until `isOver` or until `limitMs` have passed. Promises settle in between. */
  async run(isOver: () => boolean, limitMs = 600_000): Promise<void> {
    const end = this.#now + limitMs;
    for (;;) {
      await breathe();
      if (isOver()) {
        return;
      }
      const [next] = [...this.#timers].toSorted(([idA, a], [idB, b]) => a.at - b.at || idA - idB);
      if (!next || next[1].at > end) {
        return;
      }
      this.#timers.delete(next[0]);
      this.#now = Math.max(this.#now, next[1].at);
      next[1].action();
    }
  }
}
