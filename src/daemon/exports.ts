/** The links by which nbd-server finds the disks of a client: one per address and export. */
import { mkdir, open, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Clock } from '../domain/clock.ts';
import { systemCode } from '../domain/errors.ts';
import { type Ipv4, parseIpv4 } from '../domain/ipv4.ts';
import { syncPath } from '../process/sync-path.ts';

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

/** The beginning of a disk by which the attacher knows that its node must restart (rootfs/nbd-attach/nbd-attach.c). */
const rebootMark = 'CARDLESS REBOOT\n';
const rebootDiskBytes = 4096;

/** A node that ran before this server started is back on its disks within this time. */
const reconnectMs = 60_000;

export class Exports {
  readonly #directory: string;
  #serving: { readonly since: number; readonly clock: Clock } | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Nodes that ran before begin to connect again. */
  startServing(clock: Clock): void {
    this.#serving = { since: clock.now(), clock };
  }

  /** May a node that runs be about to connect to one of these files, or to one below these folders, again? */
  async isAwaited(paths: readonly string[]): Promise<boolean> {
    if (!this.#serving || this.#serving.clock.now() - this.#serving.since >= reconnectMs) {
      return false;
    }
    const links = await Promise.all(writable.map((name) => this.#linksOf(name)));
    return links.flat().some(({ target }) => isAtOrBelow(target, paths));
  }

  /**
   * From now on this address gets these disks and nothing else, and no other address gets a disk of this node. On the disk
   * when it resolves: after a crash, a node must not find the disk of whoever had its address before.
   */
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
    await Promise.all((['root', ...writable] as const).map((name) => syncPath(join(this.#directory, name))));
  }

  /** Whoever runs on one of these files, or on one below these folders, is told to restart when it connects again. */
  async refuse(paths: readonly string[]): Promise<void> {
    for (const name of writable) {
      for (const { address, target } of await this.#linksOf(name)) {
        if (isAtOrBelow(target, paths)) {
          await this.#link(name, parseIpv4(address), await this.#rebootDisk());
        }
      }
    }
  }

  /**
   * Called before anything is served. When the machine was restarted since the last time, its memory is gone and with it what
   * was acknowledged to nodes but not flushed. A node that wrote to a disk before must not go on writing: at the address
   * where it finds its disks there is one that tells it to restart. At its next boot `place` gives it its own again.
   * @param machineBoot another one after each boot of this machine
   * @param bound where nodes found their disks before; links may be among what was lost
   * @returns the addresses of nodes that will have to restart
   */
  async refuseAfterCrash(machineBoot: string, bound: readonly Ipv4[]): Promise<readonly Ipv4[]> {
    const record = join(this.#directory, 'machine-boot');
    const before = await readFile(record, 'utf8').catch(() => undefined);
    if (before === machineBoot) {
      return [];
    }
    const refused = new Set<Ipv4>();
    for (const name of before === undefined ? [] : writable) {
      const linked = await readdir(join(this.#directory, name)).catch((): string[] => []);
      for (const address of new Set([...linked.map(parseIpv4), ...bound])) {
        await this.#link(name, address, await this.#rebootDisk());
        refused.add(address);
      }
    }
    await mkdir(this.#directory, { recursive: true });
    await writeDurably(record, machineBoot);
    return [...refused];
  }

  async #rebootDisk(): Promise<string> {
    // fence.sh knows it by this name.
    const file = join(this.#directory, 'reboot.img');
    const disk = Buffer.alloc(rebootDiskBytes);
    disk.write(rebootMark);
    await writeDurably(file, disk);
    return file;
  }

  /** Nobody gets a disk of this node any more. */
  async withdraw(directories: readonly string[]): Promise<void> {
    for (const name of writable) {
      for (const { address, target } of await this.#linksOf(name)) {
        if (isAtOrBelow(target, directories)) {
          await rm(join(this.#directory, name, address), { force: true });
        }
      }
    }
  }

  /** One that another node's boot takes away in this moment is not among them. */
  async #linksOf(name: string): Promise<{ readonly address: string; readonly target: string }[]> {
    const directory = join(this.#directory, name);
    await mkdir(directory, { recursive: true });
    const links: { address: string; target: string }[] = [];
    for (const address of await readdir(directory)) {
      const target = await readlink(join(directory, address)).catch((error: unknown) => {
        if (systemCode(error) === 'ENOENT') {
          return undefined;
        }
        throw error;
      });
      if (target !== undefined) {
        links.push({ address, target });
      }
    }
    return links;
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

function isAtOrBelow(target: string, paths: readonly string[]): boolean {
  return paths.some((path) => target === path || target.startsWith(`${path}/`));
}

/** By a rename, and on the disk when this resolves. */
async function writeDurably(file: string, content: string | Buffer): Promise<void> {
  const partial = `${file}.partial`;
  await rm(partial, { force: true });
  await using handle = await open(partial, 'w');
  await handle.writeFile(content);
  await handle.sync();
  await rename(partial, file);
  await using folder = await open(dirname(file), 'r');
  await folder.sync();
}
