import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import express from 'express';
import { expect, test } from 'vitest';
import { findPlaces, projectRoot } from '#src/config/places.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { ensureNodePrograms } from '#src/images/node-programs.ts';
import { createAgentFace } from '#src/servers/http/agent-face.ts';
import { takePosted, tokenOf } from '#src/servers/http/node-key.ts';
import { ran, until } from '../support/lab-server.ts';
import { stopProcesses } from '../support/stopped.ts';

/** The node's own script, with its busybox, on a disk of ours in place of the node's. */
async function startNode(holdSeconds: number) {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'cardless-freezer-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const signal = new AbortController().signal;
  const { busybox } = await ensureNodePrograms({ cache: findPlaces({ env: process.env }).cache, arch: 'amd64', signal });
  const orders: string[] = [];
  const held: { id: string; answer: () => void; gone: AbortSignal }[] = [];
  const ends: string[] = [];
  const app = express();
  const face = createAgentFace(
    {
      order: async () => {
        await until(() => Promise.resolve(orders.length > 0), 'an order', 60_000).catch(() => {});
        return orders.shift() ?? '';
      },
      frozen: (_key, _peer, id, gone) => new Promise((answer) => held.push({ id, answer, gone })),
      thawed: (_key, _peer, id, how) => void ends.push(`${id} ${how}`),
      answered: () => {},
    },
    (request) => ({ key: tokenOf(request), peer: parseIpv4('127.0.0.1') }),
  );
  const server = createServer(app.use(takePosted, face));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stack.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const [image, disk] = [join(folder, 'disk.img'), join(folder, 'look')];
  await execa('truncate', ['-s', '16M', image]);
  await execa('mkfs.ext4', ['-q', '-F', image]);
  await mkdir(disk);
  const device = (await execa('losetup', ['--find', '--show', image])).stdout;
  stack.defer(async () => void (await execa('losetup', ['--detach', device])));
  await execa('mount', [device, disk]);
  stack.defer(async () => {
    await ran('fsfreeze', ['--unfreeze', disk]);
    await execa('umount', [disk]);
  });
  const places: [string, string][] = [
    ['/run/cardless/busybox', busybox],
    ['/run/cardless', folder],
    ['/dev/nbd1', device],
    ['/etc/cardless/agent.conf', join(folder, 'agent.conf')],
  ];
  const script = await readFile(join(projectRoot, 'rootfs/agent/freezer'), 'utf8');
  await writeFile(
    join(folder, 'freezer'),
    places.reduce((text, [from, to]) => text.replaceAll(from, to), script),
  );
  await writeFile(
    join(folder, 'agent.conf'),
    `AGENT_SERVER='http://127.0.0.1:${port}'\nAGENT_PROXY='http://agent:the-key@127.0.0.1:${port}'\n`,
  );
  const start = () => execa(busybox, ['sh', join(folder, 'freezer')], { reject: false, detached: true, stdin: 'ignore' });
  let agent = start();
  const kill = (): void => void (agent.pid === undefined || process.kill(-agent.pid, 'SIGKILL'));
  stack.defer(async () => {
    kill();
    await agent;
  });
  const owned = stack.move();
  return {
    held,
    ends,
    group: () => agent.pid ?? 0,
    order: (id: string) => orders.push(`freeze ${id} ${holdSeconds}\n`),
    /** A disk that is held already cannot be held again. */
    isFrozen: async (): Promise<boolean> => {
      const isHeld = (await ran('fsfreeze', ['--freeze', disk])).code !== 0;
      if (!isHeld) {
        await execa('fsfreeze', ['--unfreeze', disk]);
      }
      return isHeld;
    },
    startAnother: start,
    killAndStartAgain: async (): Promise<void> => {
      kill();
      await agent;
      agent = start();
    },
    cutConnections: () => server.closeAllConnections(),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('the disk is held until the server answers, again and again', async () => {
  await using node = await startNode(30);
  for (const id of ['a1', 'b2']) {
    node.order(id);
    await until(() => Promise.resolve(node.held.length > 0), 'the disk to be held');
    expect(await node.isFrozen()).toBe(true);
    node.held.shift()?.answer();
    await until(() => Promise.resolve(node.ends.includes(`${id} told`)), 'the end');
    expect(await node.isFrozen()).toBe(false);
  }
});

test('another that is started while the disk is held ends, and the disk stays held', async () => {
  await using node = await startNode(30);
  node.order('a1');
  await until(() => Promise.resolve(node.held.length > 0), 'the disk to be held');
  expect(await node.startAnother()).toMatchObject({ exitCode: 0 });
  expect(await node.isFrozen()).toBe(true);
  node.held.shift()?.answer();
  await until(() => Promise.resolve(node.ends.length > 0), 'the end');
  expect(node.ends).toEqual(['a1 told']);
});

test('a server that goes away, and one that never answers: the node goes on', async () => {
  await using node = await startNode(2);
  node.order('a1');
  await until(() => Promise.resolve(node.held.length > 0), 'the disk to be held');
  node.cutConnections();
  await until(() => Promise.resolve(node.ends.includes('a1 the server did not answer')), 'the end');
  expect(node.held[0]?.gone.aborted).toBe(true);
  expect(await node.isFrozen()).toBe(false);
  node.order('b2');
  await until(() => Promise.resolve(node.ends.includes('b2 the server did not answer')), 'the end');
  expect(await node.isFrozen()).toBe(false);
});

test('the watchdog thaws when what holds the disk does not; kill -9 of all is mended by the next start', async () => {
  await using node = await startNode(1);
  node.order('a1');
  await until(() => Promise.resolve(node.held.length > 0), 'the disk to be held');
  const holders = (await ran('pgrep', ['-g', String(node.group()), '-f', 'freezer hold a1'])).stdout.split('\n').map(Number);
  const all = (await ran('pgrep', ['-g', String(node.group())])).stdout.split('\n').map(Number);
  // The first of them is what waits for the server, the second is the watchdog.
  const [main = 0, watchdog = 0] = holders;
  expect([main, watchdog].every((pid) => pid > 0)).toBe(true);
  {
    using _stuck = stopProcesses([main]);
    await until(async () => !(await node.isFrozen()), 'the watchdog');
  }
  await until(() => Promise.resolve(node.ends.some((end) => end.startsWith('a1 '))), 'the end');
  expect(all.length).toBeGreaterThan(2);

  node.held.length = 0;
  node.order('b2');
  await until(() => Promise.resolve(node.held.length > 0), 'the disk to be held');
  await node.killAndStartAgain();
  await until(async () => !(await node.isFrozen()), 'the next start to thaw');
});
