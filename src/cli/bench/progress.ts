import { progressLine } from '../format.ts';

/** Where a run stands and how long it still takes, on stderr. Steps are weighed by the seconds that they should take. */
export class BenchProgress {
  readonly #write: (text: string) => void;
  readonly #isTerminal: boolean;
  readonly #plannedSeconds: number;
  readonly #startedAt = Date.now();
  #doneSeconds = 0;

  constructor(plannedSeconds: number, write: (text: string) => void, isTerminal: boolean) {
    this.#plannedSeconds = Math.max(1, plannedSeconds);
    this.#write = write;
    this.#isTerminal = isTerminal;
  }

  /** What begins now. */
  show(what: string): void {
    const fraction = Math.min(1, this.#doneSeconds / this.#plannedSeconds);
    const line = progressLine(what, fraction, Date.now() - this.#startedAt);
    this.#write(this.#isTerminal ? `\r\u001b[K${line}` : `${line}\n`);
  }

  /** A step that was planned with so many seconds is over. */
  add(seconds: number): void {
    this.#doneSeconds += seconds;
  }

  end(): void {
    this.#write(this.#isTerminal ? '\r\u001b[K' : '');
  }
}
