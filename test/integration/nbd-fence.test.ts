import { once } from 'node:events';
import { readFile, rm, symlink } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { messageOf } from '#src/domain/errors.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { isAlive } from '#src/process/signal.ts';
import { closeForWrites, fenceDisk, holdDisk, openForWrites } from '#src/servers/nbd/fence.ts';
import { nbdClient } from '../support/disk-house.ts';
import { until } from '../support/lab-server.ts';
import { type NbdHost, startNbdHost } from '../support/nbd-host.ts';
import { addressOf, type NbdLoad, nbdLoad } from '../support/nbd-load.ts';
import { stopProcesses } from '../support/stopped.ts';

async function attached(host: NbdHost, exportName: string, clients: number): Promise<NbdLoad> {
  const load = await nbdLoad({ port: host.port, exportName, clients, limitSeconds: 30 });
  expect(await load.round()).toMatchObject({ attached: clients });
  return load;
}

async function onlyHolder(host: NbdHost, client: number): Promise<number> {
  const holders = await host.holders(host.diskOf(client));
  expect(holders).toHaveLength(1);
  return holders[0] ?? 0;
}

describe('one connection at a time may write to a disk', () => {
  test('a new connection ends the process of the old one, even one that is stuck with requests of it', async () => {
    await using host = await startNbdHost(2);
    await using load = await attached(host, 'overlay', 2);
    const old = await onlyHolder(host, 0);
    using _stuck = stopProcesses([old]);
    load.again();
    expect(await load.round()).toMatchObject({ attached: 2 });
    expect(await onlyHolder(host, 0)).not.toBe(old);
    expect(isAlive(old)).toBe(false);
  });

  test("the disk counts, not the address: who comes from another one ends the disk's old connection, and no other", async () => {
    await using host = await startNbdHost(3);
    await using before = await attached(host, 'overlay', 2);
    const [first, second] = [await onlyHolder(host, 0), await onlyHolder(host, 1)];
    const link = join(host.exports, 'overlay', addressOf(2));
    await rm(link);
    await symlink(host.diskOf(0), link);
    await using after = await nbdLoad({ port: host.port, exportName: 'overlay', clients: 1, limitSeconds: 30, firstClient: 2 });
    expect(await after.round()).toMatchObject({ attached: 1 });
    expect(await onlyHolder(host, 0)).not.toBe(first);
    expect(await onlyHolder(host, 1)).toBe(second);
    expect(before).toBeDefined();
  });

  test('before a check of a disk all its connections end, and those of other disks stay', async () => {
    await using host = await startNbdHost(2);
    await using load = await attached(host, 'overlay', 2);
    using _stuck = stopProcesses([await onlyHolder(host, 0)]);
    const other = await onlyHolder(host, 1);
    await fenceDisk({ records: host.fences }, host.diskOf(0));
    expect(await host.holders(host.diskOf(0))).toEqual([]);
    expect(await onlyHolder(host, 1)).toBe(other);
    expect(load).toBeDefined();
  });

  test('what a node left of its root connection ends with its next one; the root itself is for many at once', async () => {
    await using host = await startNbdHost(3);
    await using load = await attached(host, 'root', 3);
    const before = await host.holders(host.root);
    expect(before).toHaveLength(3);
    using _stuck = stopProcesses(before);
    load.again();
    expect(await load.round()).toMatchObject({ attached: 3 });
    const after = await host.holders(host.root);
    expect(after).toHaveLength(3);
    expect(after.filter((pid) => before.includes(pid))).toEqual([]);
  });
});

async function isStopped(pid: number): Promise<boolean> {
  return /^State:\s+T/m.test(await readFile(`/proc/${pid}/status`, 'utf8'));
}

/** What becomes of one more connection of a client. */
async function connecting(host: NbdHost, client: number, exportName = 'overlay', firstPort = 665): Promise<string> {
  const source = { address: parseIpv4(addressOf(client)), firstPort };
  try {
    await using _client = await nbdClient(host.port, exportName, source);
    return 'served';
  } catch (error) {
    return messageOf(error);
  }
}

/** All that only root may have, and that the attacher uses. */
async function takePorts(address: string): Promise<Server[]> {
  const ports = Array.from({ length: 1024 - 665 }, (_, index) => 665 + index);
  return await Promise.all(
    ports.map(async (port) => {
      const server = createServer().listen(port, address);
      // Where a service of this machine listens the client cannot be either.
      await once(server, 'listening').catch(() => {});
      return server;
    }),
  );
}

const refused = 'nbd: refused';

describe('a disk that is held', () => {
  test('nobody writes to it, neither who has it open nor who connects meanwhile; then they go on', async () => {
    await using host = await startNbdHost(3);
    const fences = { records: host.fences };
    await using load = await attached(host, 'overlay', 2);
    const [first, second] = [await onlyHolder(host, 0), await onlyHolder(host, 1)];
    {
      await using _held = await holdDisk(fences, host.diskOf(0));
      await using _nobodyHasIt = await holdDisk(fences, host.diskOf(2));
      expect([await isStopped(first), await isStopped(second)]).toEqual([true, false]);
      expect(await Promise.all([connecting(host, 0), connecting(host, 2)])).toEqual([refused, refused]);
      expect(await onlyHolder(host, 0)).toBe(first);
      load.again();
      await until(async () => {
        const [now] = await host.holders(host.diskOf(1));
        return now !== undefined && now !== second;
      }, 'the other disk to be served');
      expect(await host.holders(host.diskOf(0))).toEqual([first]);
    }
    expect(await load.round()).toMatchObject({ attached: 2 });
    expect(await onlyHolder(host, 0)).not.toBe(first);
  });

  test('a hold ends with the process that wanted it', async () => {
    await using host = await startNbdHost(1);
    await using load = await attached(host, 'overlay', 1);
    const holder = await onlyHolder(host, 0);
    const script = `import { holdDisk } from './src/servers/nbd/fence.ts';
      await holdDisk({ records: process.argv[1] }, process.argv[2]);
      setInterval(() => {}, 1000);`;
    const args = ['--input-type=module', '-e', script, host.fences, host.diskOf(0)];
    const daemon = execa(process.execPath, args, { cwd: projectRoot, reject: false });
    await until(() => isStopped(holder), 'the disk to be held');
    daemon.kill('SIGKILL');
    await daemon;
    await until(async () => !(await isStopped(holder)), 'the hold to end');
    expect(load).toBeDefined();
  });

  test('with a full store nobody begins to write and no hold lets anybody go on; space again spares what is held', async () => {
    await using host = await startNbdHost(2);
    const fences = { records: host.fences };
    await using load = await attached(host, 'overlay', 2);
    const pids = [await onlyHolder(host, 0), await onlyHolder(host, 1)];
    const stopped = (): Promise<boolean[]> => Promise.all(pids.map(isStopped));
    await closeForWrites(fences);
    using _full = stopProcesses(pids);
    expect(await Promise.all([connecting(host, 0), connecting(host, 0, 'root')])).toEqual([refused, 'served']);
    await (await holdDisk(fences, host.diskOf(0)))[Symbol.asyncDispose]();
    expect(await stopped()).toEqual([true, true]);
    {
      await using _held = await holdDisk(fences, host.diskOf(0));
      expect(await openForWrites(fences)).toBe(false);
      expect(await stopped()).toEqual([true, false]);
    }
    expect(await stopped()).toEqual([false, false]);
    expect(await openForWrites(fences)).toBe(true);
    expect(load).toBeDefined();
  });
});

describe('of a machine only root gets its disks', () => {
  test.each(['overlay', 'root'])('%s: a port that anybody may have is refused and ends no connection', async (exportName) => {
    await using host = await startNbdHost(1);
    await using load = await attached(host, exportName, 1);
    const file = exportName === 'root' ? host.root : host.diskOf(0);
    const before = await host.holders(file);
    expect(before).toHaveLength(1);
    for (const firstPort of [1024, 40_000]) {
      expect(await connecting(host, 0, exportName, firstPort)).toBe(refused);
    }
    expect(await host.holders(file)).toEqual(before);
    expect(await connecting(host, 0, exportName)).toBe('served');
    expect(isAlive(before[0])).toBe(false);
    expect(load).toBeDefined();
  });

  test('a client finds the one port that is free, and when there is none it tries again instead of waiting for ever', async () => {
    // No other test connects from this one's address, and leaves ports there that are free a while later.
    const client = { firstClient: 3, clients: 1, exportName: 'overlay' };
    await using host = await startNbdHost(client.firstClient + 1);
    const [last, ...others] = await takePorts(addressOf(client.firstClient));
    await using stack = new AsyncDisposableStack();
    stack.defer(() => others.forEach((server) => void server.close()));
    await using none = await nbdLoad({ ...client, port: host.port, limitSeconds: 2 });
    const { attached: without, tries } = await none.round();
    expect(without).toBe(0);
    expect(tries).toBeGreaterThan(1);
    last?.close();
    await using one = await nbdLoad({ ...client, port: host.port, limitSeconds: 30 });
    expect(await one.round()).toMatchObject({ attached: 1 });
  });
});

test('a test that ends while nbd-server is stopped leaves nothing of it behind', async () => {
  const host = await startNbdHost(2);
  await using load = await attached(host, 'overlay', 2);
  const pids = await host.pids();
  expect(pids).toHaveLength(3);
  for (const pid of pids) {
    process.kill(pid, 'SIGSTOP');
  }
  await host[Symbol.asyncDispose]();
  await until(() => Promise.resolve(!pids.some(isAlive)), 'all of it to end');
  expect(load).toBeDefined();
});

test('a connection that never says what it wants does not keep a new nbd-server from the port', async () => {
  await using host = await startNbdHost(1);
  await using load = await attached(host, 'overlay', 1);
  const served = await onlyHolder(host, 0);
  const silent = connect(host.port, '127.0.0.1');
  await new Promise<void>((resolve) => silent.once('data', () => resolve()));
  const parent = host.server.pid ?? 0;
  process.kill(parent, 'SIGKILL');
  await until(async () => host.server.pid !== parent, 'a new nbd-server');
  expect(await onlyHolder(host, 0)).toBe(served);
  load.again();
  expect(await load.round()).toMatchObject({ attached: 1 });
  silent.destroy();
});
