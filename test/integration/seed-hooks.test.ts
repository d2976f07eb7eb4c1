import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { run } from '#src/process/run.ts';
import { tokenOf } from '#src/servers/http/node-key.ts';
import { debianRoot, nodeRoot } from '../support/node-root.ts';

async function listen() {
  const told: string[] = [];
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      told.push(`${tokenOf(request)} ${new URL(request.url ?? '', 'http://server').pathname} ${body}`);
      response.writeHead(204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return { told, port: typeof address === 'object' && address ? address.port : 0, [Symbol.dispose]: () => void server.close() };
}

test('a hook of the first boot is done once, one that fails is tried again, and the server hears of both', async () => {
  using server = await listen();
  using node = await nodeRoot();
  mkdirSync(node.at('bin'));
  symlinkSync('/run/cardless/busybox', node.at('bin/sh'));
  const settings = {
    labels: { rack: "a's" },
    variables: { port: 80 },
    firstBoot: [
      {
        name: 'good',
        script:
          '#!/bin/sh\necho "$CARDLESS_HOOK $CARDLESS_NODE $CARDLESS_LABELS $CARDLESS_VARIABLES $CARDLESS_DOMAIN" >>/good\nexport -p >/exported\n',
      },
      { name: 'bad', script: '#!/bin/sh\necho tried >>/bad\nexit 3\n' },
    ],
    everyBoot: [{ name: 'each', script: 'echo hello\n' }],
  };
  for (let boot = 0; boot < 2; boot += 1) {
    expect(await node.boot(settings, server.port)).toEqual([]);
    await expect(node.run('/usr/lib/cardless/run-hooks', 'firstBoot')).rejects.toThrow('hook bad ended with 3');
  }
  expect(await node.run('/usr/lib/cardless/run-hooks', 'everyBoot')).toEqual(['hook each begins', 'hello', 'hook each ended with 0']);
  expect(node.read('good')).toBe(`good red5 {"rack":"a's"} {"port":80} cluster.internal\n`);
  expect(node.read('exported')).toContain('CARDLESS_NODE=');
  expect(node.read('exported')).not.toMatch(/AGENT_|http_proxy|agent:/);
  expect(node.read('bad')).toBe('tried\ntried\n');
  expect(server.told).toEqual([
    'key /v1/agent/hook/firstBoot/good 0',
    'key /v1/agent/hook/firstBoot/bad 3',
    'key /v1/agent/hook/firstBoot/bad 3',
    'key /v1/agent/hook/everyBoot/each 0',
  ]);
  await node.boot({}, server.port);
  expect(await node.run('/usr/lib/cardless/run-hooks', 'everyBoot')).toEqual([]);
});

test('systemd takes the units as they are', async () => {
  using node = await nodeRoot();
  await node.boot({});
  for (const name of ['agent', 'first-boot', 'every-boot']) {
    expect(node.exists(`etc/systemd/system/cardless-${name}.service`)).toBe(true);
  }
  await run('systemd-analyze', ['--version']);
  // It ends with a failure for much that is only not there in this tree.
  const complaints = async (names: readonly string[]): Promise<string[]> => {
    const units = names.map((name) => node.at(`etc/systemd/system/cardless-${name}.service`));
    const said = await run('sh', ['-c', `systemd-analyze verify --man=no ${units.join(' ')} 2>&1 || true`]);
    return said.split('\n').filter((line) => /cardless-.*(Unknown|ordering cycle|Failed to parse|ignoring)/i.test(line));
  };
  expect(await complaints(['first-boot', 'every-boot'])).toEqual([]);
  writeFileSync(node.at('etc/systemd/system/cardless-planted.service'), '[Service]\nExecStart=/bin/true\nBogus=1\n');
  expect(await complaints(['planted'])).toHaveLength(1);
});

test.each([
  ['OpenRC', { 'sbin/openrc-run': '' }, ['etc/local.d/cardless.start']],
  ['System V', { 'etc/rc2.d/README': '' }, ['etc/init.d/cardless']],
  ['busybox', { 'etc/inittab': '::sysinit:/bin/mount -a\n' }, ['etc/inittab']],
])('%s starts the agent and hooks, told once', async (_name, files, places) => {
  const { 'usr/lib/systemd/systemd': _systemd, ...others } = debianRoot;
  using node = await nodeRoot({ ...others, ...files });
  expect(await node.boot({})).toEqual([]);
  const texts = places.map((place) => node.read(place));
  expect(texts[0]?.match(/\/usr\/lib\/cardless\/start/g)).toHaveLength(1);
  expect(await node.boot({})).toEqual([]);
  expect(places.map((place) => node.read(place))).toEqual(texts);
});
