/**
 * Keeps a full store from corrupting anything. nbd-server answers a write that finds no space with an error, which the
 * kernel of the node takes for a broken disk: ext4 loses what it had not written and gives up its journal. So before that
 * the processes that write are stopped, and their nodes wait, as they do when the server is away. Roots are served on.
 */
import type { Clock } from '../domain/clock.ts';
import { messageOf } from '../domain/errors.ts';
import type { Logger } from '../log/logger.ts';
import type { Space, SpaceLevel, StoreSpace } from '../overlays/store-space.ts';
import { stopHolders } from '../process/disk-holders.ts';
import { closeForWrites, type Fences, openForWrites } from '../servers/nbd/fence.ts';

const lookEveryMs = 1000;
/** Who was about to open its disk when the store was found full is stopped at the next look. */
const stopEveryMs = 100;

export interface StoreWatchOptions {
  readonly space: StoreSpace;
  /** Of all writable disks. */
  readonly directories: readonly string[];
  readonly fences: Fences;
  readonly clock: Clock;
  readonly log: Logger;
}

export class StoreWatch implements AsyncDisposable {
  readonly #options: StoreWatchOptions;
  #level: SpaceLevel | undefined;
  /** Also what an earlier run of ours stopped and did not live to resume. */
  #mayBeStopped = true;
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
      this.#cancel = this.#options.clock.after(this.#level === 'out' ? stopEveryMs : lookEveryMs, () => {
        this.#looking = this.#look()
          .catch((error: unknown) => this.#options.log.error({ reason: messageOf(error) }, 'the store could not be looked at'))
          .finally(() => this.#next());
      });
    }
  }

  async #look(): Promise<void> {
    const { space, directories, fences } = this.#options;
    const now = await space.now();
    if (now.level === 'out') {
      this.#mayBeStopped = true;
      await stopHolders(directories);
      await closeForWrites(fences);
    } else if (this.#mayBeStopped) {
      // A disk that is being copied is left alone until the next look.
      this.#mayBeStopped = !(await openForWrites(fences));
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
