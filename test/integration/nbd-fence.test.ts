import { rm, symlink } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isAlive } from '#src/process/signal.ts';
import { fenceDisk } from '#src/servers/nbd/fence.ts';
import { until } from '../support/lab-server.ts';
import { type NbdHost, startNbdHost } from '../support/nbd-host.ts';
import { addressOf, type NbdLoad, nbdLoad } from '../support/nbd-load.ts';

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
    process.kill(old, 'SIGSTOP');
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
    process.kill(await onlyHolder(host, 0), 'SIGSTOP');
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
    for (const pid of before) {
      process.kill(pid, 'SIGSTOP');
    }
    load.again();
    expect(await load.round()).toMatchObject({ attached: 3 });
    const after = await host.holders(host.root);
    expect(after).toHaveLength(3);
    expect(after.filter((pid) => before.includes(pid))).toEqual([]);
  });
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
