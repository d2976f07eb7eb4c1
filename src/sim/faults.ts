/** What a bad network does to frames: decided by seed, so that a run can be played again. */
import { seededRandom } from './random.ts';

export interface Faults {
  /** Probabilities for each frame in each direction. */
  readonly loss: number;
  readonly dup: number;
  readonly reorder: number;
  /** One way. */
  readonly latencyMs: number;
  /** From the servers to all boards together. */
  readonly bitsPerSecond?: number;
  readonly seed: number;
}

export const noFaults: Faults = { loss: 0, dup: 0, reorder: 0, latencyMs: 0, seed: 1 };

/** A frame that is taken out of order arrives this much later than its turn. */
const reorderMs = 3;

export function isFaultless(faults: Faults): boolean {
  return faults.loss === 0 && faults.dup === 0 && faults.reorder === 0 && faults.latencyMs === 0;
}

export interface Fate {
  /** Delays of its copies; none when it is lost. */
  readonly delaysMs: readonly number[];
}

/** The fate of one board's frames in one direction, one after another. */
export function fates(faults: Faults, seed: number): () => Fate {
  const random = seededRandom(seed);
  const delay = (): number => faults.latencyMs + (random() < faults.reorder ? reorderMs : 0);
  return () => {
    if (random() < faults.loss) {
      return { delaysMs: [] };
    }
    const first = delay();
    return { delaysMs: random() < faults.dup ? [first, delay()] : [first] };
  };
}

interface Waiting {
  readonly due: number;
  readonly deliver: () => void;
}

/** Frames under way, in the order in which they arrive. */
export class DelayLine {
  // BOUNDED: by what boards and servers have under way at once: a window for each board.
  #waiting: Waiting[] = [];
  #head = 0;

  add(due: number, deliver: () => void): void {
    let at = this.#waiting.length;
    while (at > this.#head && (this.#waiting[at - 1]?.due ?? 0) > due) {
      at -= 1;
    }
    this.#waiting.splice(at, 0, { due, deliver });
  }

  /** When the next one arrives; undefined when none is under way. */
  get next(): number | undefined {
    return this.#waiting[this.#head]?.due;
  }

  deliverDue(now: number): number {
    let count = 0;
    for (let first = this.#waiting[this.#head]; first && first.due <= now; first = this.#waiting[this.#head]) {
      this.#head += 1;
      count += 1;
      first.deliver();
    }
    if (this.#head > 1024 || this.#head === this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    return count;
  }
}

/** How much a link of limited rate has carried: what is not paid for waits in front of it. */
export class TokenBucket {
  readonly #bytesPerMs: number;
  #credit: number;
  #at: number;

  /** @param now in ms, any origin */
  constructor(bitsPerSecond: number, now: number) {
    this.#bytesPerMs = bitsPerSecond / 8000;
    this.#credit = this.#burst;
    this.#at = now;
  }

  /** True when another frame may pass. */
  mayPass(now: number): boolean {
    this.#credit = Math.min(this.#burst, this.#credit + (now - this.#at) * this.#bytesPerMs);
    this.#at = now;
    return this.#credit > 0;
  }

  pay(bytes: number): void {
    this.#credit -= bytes;
  }

  /** How long until the next frame may pass. */
  get waitMs(): number {
    return this.#credit > 0 ? 0 : -this.#credit / this.#bytesPerMs;
  }

  /** What a link could have carried while this process was not scheduled is made up for; a link itself never pauses. */
  get #burst(): number {
    return this.#bytesPerMs * 10;
  }
}
