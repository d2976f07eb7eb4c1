/** The links by which nbd-server finds the disks of a client: one per address and export. */
import { mkdir, readdir, readlink, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Ipv4 } from '../domain/ipv4.ts';

export interface NodeDisks {
  /** Where all overlays of the node are, of every image version. */
  readonly overlayDirectory: string;
  readonly root: string;
  /** Absent in ephemeral mode. */
  readonly overlay?: string;
}

export class Exports {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** From now on this address gets these disks, and no other address gets a disk of this node. */
  async place(address: Ipv4, disks: NodeDisks): Promise<void> {
    await this.#link('root', address, disks.root);
    await this.#unlink('overlay', (target, other) => other !== address && target.startsWith(`${disks.overlayDirectory}/`));
    if (disks.overlay === undefined) {
      await rm(join(this.#directory, 'overlay', address), { force: true });
    } else {
      await this.#link('overlay', address, disks.overlay);
    }
  }

  /** Nobody gets a disk of this node any more. */
  async withdraw(overlayDirectory: string): Promise<void> {
    await this.#unlink('overlay', (target) => target.startsWith(`${overlayDirectory}/`));
  }

  async #unlink(name: string, matches: (target: string, address: string) => boolean): Promise<void> {
    const directory = join(this.#directory, name);
    await mkdir(directory, { recursive: true });
    for (const address of await readdir(directory)) {
      if (matches(await readlink(join(directory, address)), address)) {
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
