/**
 * Keeps a full store from corrupting anything. nbd-server answers a write that finds no space with an error, which the
 * kernel of the node takes for a broken disk: ext4 loses what it had not written and gives up its journal. So before that
 * the processes that write are stopped, and their nodes wait, as they do when the server is away. Roots are served on.
 */
import type { Clock } from '../domain/clock.ts';
import { messageOf } from '../domain/errors.ts';
import type { Logger } from '../log/logger.ts';
import type { Space, SpaceLevel, StoreSpace } from '../overlays/store-space.ts';
import { pauseHolders, resumeHolders } from '../process/disk-holders.ts';

const lookEveryMs = 1000;
/** A node that waits connects again now and then, and what serves the new connection must not write either. */
const pauseEveryMs = 100;

export interface StoreWatchOptions {
  readonly space: StoreSpace;
  /** Of all writable disks. */
  readonly directories: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
}

export class StoreWatch implements AsyncDisposable {
  readonly #options: StoreWatchOptions;
  #level: SpaceLevel | undefined;
  #cancel: () => void = () => {};
  #looking: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: StoreWatchOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    await this.#look();
    this.#next();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#looking;
  }

  #next(): void {
    if (!this.#stopped) {
      this.#cancel = this.#options.clock.after(this.#level === 'out' ? pauseEveryMs : lookEveryMs, () => {
        this.#looking = this.#look()
          .catch((error: unknown) => this.#options.log.error({ reason: messageOf(error) }, 'the store could not be looked at'))
          .finally(() => this.#next());
      });
    }
  }

  async #look(): Promise<void> {
    const { space, directories } = this.#options;
    const now = await space.now();
    if (now.level === 'out') {
      await pauseHolders(directories);
    } else if (this.#level === undefined || this.#level === 'out') {
      await resumeHolders(directories);
    }
    if (now.level !== this.#level) {
      this.#tell(now, this.#level);
      this.#level = now.level;
    }
  }

  #tell({ level, freeBytes, usedFraction }: Space, before: SpaceLevel | undefined): void {
    const { log } = this.#options;
    const facts = { freeBytes, usedPercent: Math.round(usedFraction * 100) };
    switch (level) {
      case 'out':
        log.error(facts, 'the store is full: nodes with a disk here wait until there is space');
        return;
      case 'low':
        log.warn(facts, 'the store is nearly full: no new overlays, data volumes and snapshots');
        return;
      case 'warn':
        log.warn(facts, 'the store is more than 80 % full');
        return;
      case 'plenty':
        if (before !== undefined) {
          log.info(facts, 'the store has space again');
        }
        return;
      default:
        level satisfies never;
    }
  }
}

/** Nobody writes to this disk until the result is disposed. Whoever uses it waits meanwhile. */
export async function holdDisk(path: string): Promise<AsyncDisposable> {
  await pauseHolders([path]);
  return { [Symbol.asyncDispose]: () => resumeHolders([path]) };
}
