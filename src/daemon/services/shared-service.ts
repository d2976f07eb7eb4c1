/** Directories of this machine for the nodes of an interface, by whichever NFS server this machine can run. */
import { chmod, chown, mkdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { messageOf, systemCode, UserError } from '../../domain/errors.ts';
import { contains } from '../../domain/ipv4.ts';
import type { Node } from '../../domain/node.ts';
import type { NodeSettings } from '../../domain/node-settings.ts';
import { sharedChanges } from '../../policy/service-changes.ts';
import {
  chooseNfsServer,
  type Export,
  exportsOf,
  ganeshaConfig,
  kernelExports,
  type NfsChoice,
  placeOf,
  type Sharer,
  sharedOf,
} from '../../policy/shared-directories.ts';
import { run } from '../../process/run.ts';
import { Ganesha } from '../../servers/nfs/ganesha.ts';
import { exportsFile, KernelNfs } from '../../servers/nfs/kernel-nfs.ts';
import { assertPortFree } from '../open-port.ts';
import type { RunningService, ServedLink, ServicesOptions } from './services.ts';

const nfsPort = 2049;
/** A node's address is known long before its system looks for the directory. */
const lookEveryMs = 2000;
/** As /tmp: everybody may leave something, and only the owner take it away. Who wants it otherwise changes it once. */
const openMode = 0o1777;
/** Nobody may take the name of a user who comes later. */
const homeMode = 0o755;

/** What this machine has to export directories with. */
export async function nfsChoice(): Promise<NfsChoice> {
  const has = (file: string, ...args: string[]): Promise<boolean> =>
    run(file, args).then(
      () => true,
      () => false,
    );
  const filesystems = await readFile('/proc/filesystems', 'utf8');
  return chooseNfsServer({
    hasKernelServer: /\bnfsd$/m.test(filesystems) || (await has('modprobe', '-n', '-q', 'nfsd')),
    hasExportfs: await has('sh', '-c', 'command -v exportfs'),
    hasGanesha: await has('sh', '-c', 'command -v ganesha.nfsd'),
  });
}

interface Server {
  readonly reload: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

export class SharedService {
  readonly #options: ServicesOptions;
  readonly #kernel: KernelNfs;
  readonly #links = new Map<string, ServedLink>();

  constructor(options: ServicesOptions) {
    this.#options = options;
    const owner = options.places.state;
    this.#kernel = new KernelNfs({ exportsFile, owner, startedFile: join(options.places.state, 'nfs', 'started'), run });
  }

  get base(): string {
    return this.#options.places.shared;
  }

  /** What a run that was killed left behind: an NFS-Ganesha ended with it, the kernel's server did not. */
  async restore(): Promise<void> {
    if (await this.#kernel.stop()) {
      this.#options.log.info({}, 'exports of an earlier run are taken away');
    }
  }

  /** @throws UserError when no NFS server can be had, or somebody else has its port */
  async start(link: ServedLink): Promise<RunningService> {
    const { clock, log } = this.#options;
    const choice = await nfsChoice();
    if (choice.kind === 'missing') {
      throw new UserError('unavailable', `The shared directory needs the package ${choice.packages}`, {
        hint: `sudo ./cardless setup ${choice.packages}`,
      });
    }
    this.#links.set(link.name, link);
    let shown = JSON.stringify(await this.#prepare(link));
    const starting = choice.kind === 'kernel' ? this.#startKernel() : this.#startGanesha(link);
    const server = await starting.catch((error: unknown) => {
      this.#links.delete(link.name);
      throw error;
    });
    const look = async (): Promise<void> => {
      const now = JSON.stringify(await this.#prepare(link));
      if (now !== shown) {
        await server.reload();
        shown = now;
      }
    };
    let looking = Promise.resolve();
    let cancel = (): void => {};
    const lookLater = (): void => {
      cancel = clock.after(lookEveryMs, () => {
        looking = look()
          .catch((error: unknown) => log.warn({ interface: link.name, reason: messageOf(error) }, 'exports cannot be renewed'))
          .then(lookLater);
      });
    };
    lookLater();
    return {
      changes: () => sharedChanges({ server: choice.kind, address: link.address, exports: this.#exportsFor(link), file: exportsFile }),
      status: () => ({ server: choice.kind, exports: this.#exportsFor(link) }),
      [Symbol.asyncDispose]: async () => {
        cancel();
        await looking;
        cancel();
        this.#links.delete(link.name);
        await server.stop();
      },
    };
  }

  async #startKernel(): Promise<Server> {
    const text = (): string => kernelExports([...this.#links.values()].flatMap((link) => this.#exportsFor(link)));
    await this.#kernel.start(text());
    return {
      reload: () => this.#kernel.reload(text()),
      stop: async () => {
        await (this.#links.size > 0 ? this.#kernel.reload(text()) : this.#kernel.stop());
      },
    };
  }

  async #startGanesha(link: ServedLink): Promise<Server> {
    const { places, clock, log } = this.#options;
    const { address, name } = link;
    const recovery = join(places.state, 'nfs', name);
    await mkdir(recovery, { recursive: true });
    await assertPortFree(nfsPort, address);
    const ganesha = new Ganesha({
      address,
      port: nfsPort,
      directory: join(places.run, name),
      clock,
      onEvent: (what, fields) => log.info(fields, what),
      onLine: (line) => log.debug({ interface: name, line }, 'nfs-ganesha'),
    });
    const text = (): string => ganeshaConfig({ address, port: nfsPort, recovery, exports: this.#exportsFor(link) });
    await ganesha.start(text());
    return { reload: () => ganesha.reload(text()), stop: () => ganesha[Symbol.asyncDispose]() };
  }

  #nodesOf({ subnets }: ServedLink): (Node & Sharer)[] {
    const { nodes, addressOf } = this.#options;
    return nodes.list().flatMap((node) => {
      const address = addressOf(node);
      return address !== undefined && subnets.some((subnet) => contains(subnet, address)) ? [{ ...node, address }] : [];
    });
  }

  #exportsFor(link: ServedLink): Export[] {
    return exportsOf(this.#nodesOf(link), this.base);
  }

  /** Makes what is not there yet. */
  async #prepare(link: ServedLink): Promise<readonly Export[]> {
    const exports = this.#exportsFor(link);
    const sharers = this.#nodesOf(link);
    const homes = new Set(sharers.flatMap(({ settings }) => homesOf(settings)));
    for (const { path } of exports) {
      await makeDirectory(path, homes.has(basename(path)) ? homeMode : openMode);
    }
    for (const { settings } of sharers) {
      for (const name of homesOf(settings)) {
        await this.#makeHomes(join(this.base, name), settings);
      }
    }
    return exports;
  }

  /** The root of a node is nobody here, so it cannot make them. */
  async #makeHomes(home: string, { users = [] }: Node['settings']): Promise<void> {
    for (const { name, uid } of users) {
      if (uid !== undefined) {
        await makeDirectory(join(home, name), 0o700, uid);
      }
    }
  }
}

/** Shared directories that are /home on the node. */
function homesOf(settings: NodeSettings): string[] {
  return sharedOf(settings).flatMap((one) => (placeOf(one) === '/home' ? [one.name] : []));
}

/** One that is there stays as it is. */
async function makeDirectory(path: string, mode: number, owner?: number): Promise<void> {
  const isThere = await stat(path).then(
    () => true,
    (error: unknown) => systemCode(error) !== 'ENOENT',
  );
  if (!isThere) {
    await mkdir(path, { recursive: true });
    await chmod(path, mode);
    if (owner !== undefined) {
      await chown(path, owner, owner);
    }
  }
}
