/** The links by which nbd-server finds the disks of a client: one per address and export. */
import { mkdir, readdir, readlink, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Ipv4 } from '../domain/ipv4.ts';

export interface NodeDisks {
  readonly root: string;
  /** Absent in ephemeral mode. */
  readonly overlay?: string;
  readonly data?: string;
  /** Where all writable disks of the node are, of every image version. */
  readonly directories: readonly string[];
}

/** What only one node may write to. */
const writable = ['overlay', 'data'] as const;

export class Exports {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** From now on this address gets these disks and nothing else, and no other address gets a disk of this node. */
  async place(address: Ipv4, disks: NodeDisks): Promise<void> {
    await this.withdraw(disks.directories);
    // First goes what another node had at this address.
    await Promise.all(writable.map((name) => rm(join(this.#directory, name, address), { force: true })));
    await this.#link('root', address, disks.root);
    for (const name of writable) {
      const target = disks[name];
      if (target !== undefined) {
        await this.#link(name, address, target);
      }
    }
  }

  /** Nobody gets a disk of this node any more. */
  async withdraw(directories: readonly string[]): Promise<void> {
    for (const name of writable) {
      await this.#unlink(name, (target) => directories.some((directory) => target.startsWith(`${directory}/`)));
    }
  }

  async #unlink(name: string, matches: (target: string) => boolean): Promise<void> {
    const directory = join(this.#directory, name);
    await mkdir(directory, { recursive: true });
    for (const address of await readdir(directory)) {
      if (matches(await readlink(join(directory, address)))) {
        await rm(join(directory, address), { force: true });
      }
    }
  }

  /** A rename, so that a client that connects meanwhile finds the old or the new one. */
  async #link(name: string, address: Ipv4, target: string): Promise<void> {
    const link = join(this.#directory, name, address);
    const partial = join(this.#directory, `.${name}-${address}`);
    await mkdir(join(this.#directory, name), { recursive: true });
    await rm(partial, { force: true });
    await symlink(target, partial);
    await rename(partial, link);
  }
}
