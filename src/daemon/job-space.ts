/** Keeps our own jobs from filling the store until nodes wait for space: jobs end at the reserve, nodes wait at half of it. */
import type { Clock } from '../domain/clock.ts';
import { UserError } from '../domain/errors.ts';
import type { StoreSpace } from '../overlays/store-space.ts';

/** Half of the reserve lasts this long. */
const lookEveryMs = 200;

export interface JobSpaceOptions {
  readonly space: Pick<StoreSpace, 'isLowAt'>;
  /** What jobs write to is on the same file system. */
  readonly folder: string;
  readonly clock: Clock;
}

export class JobSpace {
  readonly #options: JobSpaceOptions;

  constructor(options: JobSpaceOptions) {
    this.#options = options;
  }

  /** @throws UserError no-space when less than the reserve is free before the work is done */
  async whileRoom<T>(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { space, folder, clock } = this.#options;
    const full = new AbortController();
    let cancel = (): void => {};
    let isOver = false;
    const look = async (): Promise<void> => {
      // Where this cannot be known, the job itself meets the end of the disk.
      if (await space.isLowAt(folder).catch(() => false)) {
        full.abort();
      } else if (!isOver) {
        cancel = clock.after(lookEveryMs, () => void look());
      }
    };
    void look();
    try {
      return await work(AbortSignal.any([signal, full.signal]));
    } catch (error) {
      const isFull = full.signal.aborted && !signal.aborted;
      throw isFull ? new UserError('no-space', 'what is free of the store is kept for the nodes that run', { cause: error }) : error;
    } finally {
      isOver = true;
      cancel();
    }
  }
}
