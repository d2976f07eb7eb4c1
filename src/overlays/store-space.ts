/** How full the file systems are that the disks of nodes are on. */
import { mkdir, stat, statfs } from 'node:fs/promises';
import { UserError } from '../domain/errors.ts';

/** From here on the operator is warned. */
const warnFraction = 0.8;

export interface Space {
  readonly totalBytes: number;
  readonly freeBytes: number;
  /** 0 to 1. */
  readonly usedFraction: number;
  readonly level: SpaceLevel;
}

/**
 * `low`: nothing new is made. `out`: nodes wait with their writes, for a write that fails would make ext4 give up on
 * its journal.
 */
export type SpaceLevel = 'plenty' | 'warn' | 'low' | 'out';

export class StoreSpace {
  readonly #directories: readonly string[];
  readonly #reserveBytes: number;

  constructor(directories: readonly string[], reserveBytes: number) {
    this.#directories = directories;
    this.#reserveBytes = reserveBytes;
  }

  /** Of the one with the least free space, where they are on several. */
  async now(): Promise<Space> {
    const all = await Promise.all(this.#directories.map((directory) => this.#of(directory)));
    const [first, ...others] = all;
    if (!first) {
      throw new Error('a store needs a directory');
    }
    return others.reduce((least, space) => (space.freeBytes < least.freeBytes ? space : least), first);
  }

  /** Is less than the reserve free on the file system of this folder, if anything of the store is there? */
  async isLowAt(folder: string): Promise<boolean> {
    const { dev } = await stat(folder);
    const all = await Promise.all(
      this.#directories.map(async (directory) => {
        const { level } = await this.#of(directory);
        return (level === 'low' || level === 'out') && (await stat(directory)).dev === dev;
      }),
    );
    return all.includes(true);
  }

  async #of(directory: string): Promise<Space> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const { blocks, bavail, bfree, bsize } = await statfs(directory);
    const [totalBytes, freeBytes] = [blocks * bsize, bavail * bsize];
    // As df counts: what is kept for root alone is neither used nor free.
    const usedBytes = (blocks - bfree) * bsize;
    const usedFraction = usedBytes + freeBytes === 0 ? 1 : usedBytes / (usedBytes + freeBytes);
    return { totalBytes, freeBytes, usedFraction, level: this.#levelOf(freeBytes, usedFraction) };
  }

  #levelOf(freeBytes: number, usedFraction: number): SpaceLevel {
    if (freeBytes < this.#reserveBytes / 2) {
      return 'out';
    }
    if (freeBytes < this.#reserveBytes) {
      return 'low';
    }
    return usedFraction >= warnFraction ? 'warn' : 'plenty';
  }

  /** @throws UserError no-space */
  async require(bytes: number, what: string): Promise<void> {
    const { freeBytes } = await this.now();
    if (freeBytes - bytes < this.#reserveBytes) {
      const inMb = (count: number): string => `${Math.ceil(count / 1e6)} MB`;
      throw new UserError(
        'no-space',
        `No space for ${what}: it takes ${inMb(bytes)}, ${inMb(freeBytes)} are free, and ${inMb(this.#reserveBytes)} are kept for the nodes that run`,
        {
          hint: 'cardless overlay list shows what takes the space; overlay rm deletes overlays and snapshots',
        },
      );
    }
  }
}
