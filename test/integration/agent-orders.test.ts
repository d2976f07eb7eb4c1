import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
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

/** The node's own script, with its busybox; lights and systemctl are ours. */
async function startNode(light: string | undefined) {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'cardless-agent-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const signal = new AbortController().signal;
  const { busybox } = await ensureNodePrograms({ cache: findPlaces({ env: process.env }).cache, arch: 'amd64', signal });
  const orders: string[] = [];
  let asking = 0;
  const answers: string[] = [];
  const face = createAgentFace(
    {
      order: async () => {
        asking += 1;
        await until(() => Promise.resolve(orders.length > 0), 'an order', 60_000).catch(() => {});
        asking -= 1;
        return orders.shift() ?? '';
      },
      frozen: () => Promise.resolve(),
      thawed: () => {},
      answered: (_key, _peer, id, how) => void answers.push(`${id} ${how}`),
    },
    (request) => ({ key: tokenOf(request), peer: parseIpv4('127.0.0.1') }),
  );
  const server = createServer(express().use(takePosted, face));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stack.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const lights = join(folder, 'leds');
  await mkdir(lights);
  if (light !== undefined) {
    await mkdir(join(lights, light));
    await Promise.all(
      Object.entries({ trigger: 'none [mmc0] timer', brightness: '7', max_brightness: '255' }).map(([name, text]) =>
        writeFile(join(lights, light, name), `${text}\n`),
      ),
    );
  }
  const places: [string, string][] = [
    ['/run/cardless/busybox', busybox],
    ['/run/cardless', folder],
    ['/sys/class/leds', lights],
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
  await mkdir(join(folder, 'bin'));
  await writeFile(join(folder, 'bin/systemctl'), `#!/bin/sh\necho "$@" >>'${join(folder, 'systemctl')}'\n`);
  await chmod(join(folder, 'bin/systemctl'), 0o755);
  const path = `${join(folder, 'bin')}:${process.env['PATH'] ?? ''}`;
  const start = () =>
    execa(busybox, ['sh', join(folder, 'freezer')], { reject: false, detached: true, stdin: 'ignore', env: { PATH: path } });
  let agent = start();
  const kill = (how: NodeJS.Signals): void => void (agent.pid === undefined || process.kill(-agent.pid, how));
  stack.defer(async () => {
    kill('SIGKILL');
    await agent;
  });
  const owned = stack.move();
  return {
    answers,
    isAsking: () => asking > 0,
    group: () => agent.pid ?? 0,
    order: (text: string) => orders.push(text),
    light: async (name: string): Promise<string> => (await readFile(join(lights, light ?? '', name), 'utf8')).trim(),
    said: async (): Promise<string> => await readFile(join(folder, 'systemctl'), 'utf8').catch(() => ''),
    restart: async (how: NodeJS.Signals): Promise<void> => {
      kill(how);
      await agent;
      agent = start();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('reboot and poweroff are taken before they are done', async () => {
  await using node = await startNode(undefined);
  for (const verb of ['reboot', 'poweroff']) {
    node.order(`${verb} abc1 0\n`);
    await until(async () => (await node.said()).includes(verb), verb);
  }
  expect(node.answers).toEqual(['abc1 taken', 'abc1 taken']);
  expect(await node.said()).toBe('reboot\npoweroff\n');
});

test('the key is in no arguments, which every user of the node may read', async () => {
  await using node = await startNode(undefined);
  await until(() => Promise.resolve(node.isAsking()), 'the agent to ask');
  const { stdout } = await ran('pgrep', ['-a', '-g', String(node.group())]);
  expect(stdout).toContain('wget');
  expect(stdout).not.toContain('the-key');
});

test('what is no order of ours is not carried out', async () => {
  await using node = await startNode(undefined);
  for (const text of ['', 'halt a1 0\n', 'reboot a1; poweroff 0\n', 'reboot $(id) 0\n', 'REBOOT a1 0\n']) {
    node.order(text);
  }
  node.order('blink b2 1\n');
  await until(() => Promise.resolve(node.answers.length > 0), 'an answer');
  expect([node.answers, await node.said()]).toEqual([['b2 it has no activity light'], '']);
});

test.each([['ACT'], ['led0'], ['mmc0']])('the light %s blinks, orders are taken meanwhile, and it does again what it did', async (name) => {
  await using node = await startNode(name);
  node.order('blink c3 5\n');
  await until(async () => (await node.light('brightness')) === '255', 'the light to be on');
  await until(async () => (await node.light('brightness')) === '0', 'the light to be off');
  expect(await node.light('trigger')).toBe('none');
  node.order('blink d4 5\n');
  await until(async () => (await node.light('trigger')) === 'mmc0', 'the light to be as it was');
  expect(node.answers).toEqual(['c3 taken', 'd4 it blinks already']);
});

test.each([['SIGTERM'], ['SIGKILL']] as const)(
  'an agent that ends by %s while the light blinks leaves it as it was, at its next start at the latest',
  async (how) => {
    await using node = await startNode('ACT');
    node.order('blink e5 600\n');
    await until(async () => (await node.light('trigger')) === 'none', 'the light to blink');
    await node.restart(how);
    await until(async () => (await node.light('trigger')) === 'mmc0', 'the light to be as it was');
  },
);
