/**
 * Addresses that change under us: what is bound to an interface's old address is closed and opened again on its new
 * one. An interface that has none is served again as soon as it gets one.
 */
import type { Clock } from '../domain/clock.ts';
import { messageOf } from '../domain/errors.ts';
import type { Logger } from '../log/logger.ts';
import type { InterfaceFacts } from '../net/interfaces.ts';

const pollMs = 3000;

/** An interface as it is served now. */
export interface WatchedInterface {
  facts: InterfaceFacts;
}

export interface InterfaceWatchOptions<T extends WatchedInterface> {
  readonly interfaces: readonly T[];
  readonly list: () => Promise<readonly InterfaceFacts[]>;
  /** Opens everything that belongs to an interface; closing the result closes it. */
  readonly serve: (entry: T) => Promise<AsyncDisposable>;
  readonly clock: Clock;
  readonly log: Logger;
}

export class InterfaceWatch<T extends WatchedInterface> implements AsyncDisposable {
  readonly #options: InterfaceWatchOptions<T>;
  readonly #open = new Map<T, AsyncDisposable>();
  #cancel = (): void => {};
  #looking: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(options: InterfaceWatchOptions<T>) {
    this.#options = options;
  }

  /** Serves all, then watches. @throws what `serve` throws: at the start an operator is there to read it */
  async start(): Promise<void> {
    for (const entry of this.#options.interfaces) {
      this.#open.set(entry, await this.#options.serve(entry));
    }
    this.#lookLater();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#cancel();
    await this.#looking;
    for (const entry of [...this.#open.keys()].toReversed()) {
      await this.#close(entry);
    }
  }

  #lookLater(): void {
    if (!this.#isClosed) {
      this.#cancel = this.#options.clock.after(pollMs, () => {
        this.#looking = this.#look().finally(() => this.#lookLater());
      });
    }
  }

  async #look(): Promise<void> {
    const { interfaces, list, log } = this.#options;
    try {
      const all = await list();
      for (const entry of interfaces) {
        await this.#follow(
          entry,
          all.find((facts) => facts.name === entry.facts.name),
        );
      }
    } catch (error) {
      log.warn({ reason: messageOf(error) }, 'interfaces cannot be read');
    }
  }

  async #follow(entry: T, facts: InterfaceFacts | undefined): Promise<void> {
    const { serve, log } = this.#options;
    const before = entry.facts;
    const isSame = facts?.index === before.index && facts.address === before.address && facts.subnet.prefix === before.subnet.prefix;
    if (this.#isClosed || (isSame && this.#open.has(entry))) {
      return;
    }
    if (this.#open.has(entry)) {
      log.warn(
        { interface: entry.facts.name, from: entry.facts.address, to: facts?.address ?? 'none' },
        'the interface is another one, or its address changed',
      );
      await this.#close(entry);
    }
    if (!facts) {
      return;
    }
    entry.facts = facts;
    try {
      this.#open.set(entry, await serve(entry));
      log.info({ interface: facts.name, address: facts.address }, 'interface is served again');
    } catch (error) {
      log.error({ interface: facts.name, address: facts.address, reason: messageOf(error) }, 'interface cannot be served; trying again');
    }
  }

  async #close(entry: T): Promise<void> {
    const open = this.#open.get(entry);
    this.#open.delete(entry);
    await open?.[Symbol.asyncDispose]();
  }
}
