/** One thing at a time per node: a boot waits for its turn, an operator is told who has it. */
import { UserError } from '../domain/errors.ts';
import type { NodeName } from '../domain/node.ts';

interface Turn {
  readonly what: string;
  readonly ended: Promise<unknown>;
}

export class Turns {
  // BOUNDED: one per node that something is done with.
  readonly #current = new Map<NodeName, Turn>();

  /** Waits for whatever is under way with this node. */
  async wait<T>(name: NodeName, what: string, work: () => Promise<T>): Promise<T> {
    for (let turn = this.#current.get(name); turn !== undefined; turn = this.#current.get(name)) {
      await turn.ended;
    }
    return await this.#take([name], what, work);
  }

  /** @throws UserError in-use when something else is under way with any of these nodes */
  async take<T>(names: readonly NodeName[], what: string, work: () => Promise<T>): Promise<T> {
    for (const name of names) {
      const busy = this.#current.get(name);
      if (busy) {
        throw new UserError('in-use', `${name} is busy: ${busy.what} is under way`, { hint: 'Try again when that is done' });
      }
    }
    return await this.#take(names, what, work);
  }

  async #take<T>(names: readonly NodeName[], what: string, work: () => Promise<T>): Promise<T> {
    const running = work();
    const turn = { what, ended: running.catch(() => {}) };
    for (const name of names) {
      this.#current.set(name, turn);
    }
    try {
      return await running;
    } finally {
      for (const name of names) {
        this.#current.delete(name);
      }
    }
  }
}
