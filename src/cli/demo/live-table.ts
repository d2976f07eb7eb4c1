import { table } from '../format.ts';
import type { NodeView } from '../node/node-view.ts';

export interface LiveRow {
  readonly node: NodeView;
  readonly poweredOnAt: number;
  readonly readyAt: number | undefined;
}

/** A table on a terminal that is drawn over itself; elsewhere a line for each change. */
export class LiveTable {
  readonly #write: (text: string) => void;
  readonly #isTerminal: boolean;
  readonly #last = new Map<string, string>();
  #drawnLines = 0;

  constructor(write: (text: string) => void, isTerminal: boolean) {
    this.#write = write;
    this.#isTerminal = isTerminal;
  }

  show(rows: readonly LiveRow[], now: number): void {
    const cells = rows.map(
      ({ node, poweredOnAt, readyAt }) =>
        [node.name, node.serial ?? '-', node.state ?? '-', ((readyAt ?? now) - poweredOnAt) / 1000] as const,
    );
    if (this.#isTerminal) {
      const text = table(
        ['NODE', 'SERIAL', 'STAGE', 'SECONDS'],
        cells.map(([name, serial, state, seconds]) => [name, serial, state, seconds.toFixed(0)]),
      );
      this.#write(`${this.#drawnLines > 0 ? `\u001b[${this.#drawnLines}A\u001b[J` : ''}${text}\n`);
      this.#drawnLines = text.split('\n').length;
      return;
    }
    for (const [name, , state, seconds] of cells) {
      if (this.#last.get(name) !== state) {
        this.#last.set(name, state);
        this.#write(`${name}: ${state} after ${seconds.toFixed(0)} s\n`);
      }
    }
  }
}
