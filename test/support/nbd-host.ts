/** A real nbd-server on the loopback, with a link for each client's address, and a look at its processes. */
import { mkdir, mkdtemp, open, readdir, readlink, symlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '#src/daemon/system-clock.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { NbdServer } from '#src/servers/nbd/nbd-server.ts';
import { addressOf } from './nbd-load.ts';
import { endNbd, nbdPids } from './stopped.ts';

const address = parseIpv4('127.0.0.1');
const rootBytes = 64 * 2 ** 20;
const diskBytes = 2 ** 20;

export interface NbdHost extends AsyncDisposable {
  readonly server: NbdServer;
  readonly port: number;
  readonly exports: string;
  readonly fences: string;
  readonly root: string;
  diskOf(client: number): string;
  /** All of it, parent first. */
  pids(): Promise<number[]>;
  /** Those that have this file open. */
  holders(file: string): Promise<number[]>;
}

export async function startNbdHost(clients: number): Promise<NbdHost> {
  const state = await mkdtemp(join(tmpdir(), 'cardless-nbd-'));
  // A directory's name must not be taken for an export's.
  const exports = join(state, 'root/exports');
  const fences = join(state, 'fences');
  const directory = join(state, 'run');
  await Promise.all(['root', 'overlay'].map((name) => mkdir(join(exports, name), { recursive: true })));
  const root = join(state, 'root.img');
  await sparse(root, rootBytes);
  const diskOf = (client: number): string => join(state, `disk-${client}.img`);
  for (let client = 0; client < clients; client++) {
    await sparse(diskOf(client), diskBytes);
    await symlink(root, join(exports, 'root', addressOf(client)));
    await symlink(diskOf(client), join(exports, 'overlay', addressOf(client)));
  }
  const port = await freePort();
  const assertPortFree = (): Promise<void> => Promise.resolve();
  const server = new NbdServer({ address, port, directory, exports, fences, clock: systemClock, assertPortFree, onEvent: () => {} });
  await server.start();
  const config = join(directory, 'nbd-server.conf');
  const pids = (): Promise<number[]> => nbdPids(config);
  return {
    server,
    port,
    exports,
    fences,
    root,
    diskOf,
    pids,
    async holders(file) {
      const has = await Promise.all((await pids()).map(async (pid) => ((await openFiles(pid)).includes(file) ? [pid] : [])));
      return has.flat();
    },
    [Symbol.asyncDispose]: () => endNbd(config, server),
  };
}

async function openFiles(pid: number): Promise<string[]> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch((): string[] => []);
  return await Promise.all(descriptors.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
}

async function sparse(file: string, bytes: number): Promise<void> {
  await using handle = await open(file, 'w');
  await handle.truncate(bytes);
}

async function freePort(): Promise<number> {
  for (let port = 20_809; ; port++) {
    const isTaken = await new Promise<boolean>((resolve) => {
      const socket = connect(port, address);
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
    if (!isTaken) {
      return port;
    }
  }
}
