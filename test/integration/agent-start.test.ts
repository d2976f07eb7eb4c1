import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { findPlaces, projectRoot } from '#src/config/places.ts';
import { ensureNodePrograms } from '#src/images/node-programs.ts';
import { tokenOf } from '#src/servers/http/node-key.ts';
import { ran, until } from '../support/lab-server.ts';

/** What a system without systemd runs, with its busybox. Its DHCP client ends soon after each start. */
async function startNode() {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'cardless-start-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const signal = new AbortController().signal;
  const { busybox } = await ensureNodePrograms({ cache: findPlaces({ env: process.env }).cache, arch: 'amd64', signal });
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://server');
    asked.push(`${tokenOf(request)} ${pathname}`);
    // Nobody gets an order.
    if (pathname !== '/v1/agent/order') {
      request.resume().once('end', () => response.writeHead(204).end());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stack.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const at = `127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
  const [run, lib, etc] = [join(folder, 'run'), join(folder, 'lib'), join(folder, 'etc')];
  await Promise.all([run, lib, etc].map((directory) => mkdir(directory)));
  await cp(busybox, join(run, 'busybox'));
  const places: [string | RegExp, string][] = [
    ['/run/cardless', run],
    ['/usr/lib/cardless', lib],
    ['/etc/cardless', etc],
    ['sleep 30', 'sleep 1'],
    ['sleep 5', 'sleep 1'],
    [/exec \$busybox udhcpc .*/, 'exec $busybox sleep 2'],
    [/\| \$busybox logger .*/, ''],
  ];
  for (const name of ['start', 'agent', 'freezer', 'vitals', 'vitals.awk']) {
    const script = await readFile(join(projectRoot, 'rootfs/agent', name), 'utf8');
    const text = places.reduce((all, [from, to]) => all.replaceAll(typeof from === 'string' ? from : new RegExp(from, 'g'), to), script);
    await writeFile(join(lib, name), text);
  }
  await writeFile(join(lib, 'run-hooks'), '');
  await writeFile(join(run, 'applied'), '');
  await writeFile(join(run, 'lease'), "LEASE_IP='10.0.0.5'\nLEASE_NIC='eth0'\n");
  await writeFile(join(etc, 'vitals.conf'), "VITALS_SECONDS='1'\n");
  await writeFile(join(etc, 'agent.conf'), `AGENT_SERVER='http://${at}'\nAGENT_PROXY='http://agent:the-key@${at}'\n`);
  const agent = execa(join(run, 'busybox'), ['sh', join(lib, 'start')], { reject: false, detached: true, stdin: 'ignore', all: true });
  const group = agent.pid ?? 0;
  stack.defer(async () => {
    process.kill(-group, 'SIGKILL');
    await agent;
  });
  const owned = stack.move();
  return {
    asked,
    /** Numbers of those that run this script, and of shells that they started for a part of it. */
    running: async (name: string): Promise<string[]> => {
      const { stdout } = await ran('pgrep', ['-g', String(group), '-f', `busybox sh ${folder}/(run|lib)/${name}$`]);
      return stdout.split('\n').filter((pid) => pid !== '');
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('an agent that is started again and again leaves one of each behind', async () => {
  await using node = await startNode();
  const starts = (): number => node.asked.filter((what) => what === 'the-key /v1/ready').length;
  const orders = (): number => node.asked.filter((what) => what === 'the-key /v1/agent/order').length;
  await until(() => Promise.resolve(orders() > 0), 'the freezer');
  const freezers = await node.running('freezer');
  expect(freezers).not.toEqual([]);
  await until(() => Promise.resolve(starts() >= 4), 'the fourth start');
  await until(async () => (await node.running('freezer')).join() === freezers.join(), 'the other freezers to end');
  expect(orders()).toBe(1);
  // One loop, of the agent that runs or, while it ends, of the one before.
  await until(async () => (await node.running('agent')).length <= 1, 'the loops of earlier ones to end');
  await until(async () => (await node.running('vitals')).length <= 1, 'the vitals of earlier ones to end');
  expect(node.asked).toContain('the-key /v1/agent/vitals');
});
