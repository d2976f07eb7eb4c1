import { cpSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { execa } from 'execa';
import express from 'express';
import { expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { packRefresh } from '#src/daemon/seed.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import type { NodeSettings } from '#src/domain/node-settings.ts';
import { accountsText } from '#src/policy/stage-files.ts';
import { createAgentFace } from '#src/servers/http/agent-face.ts';
import { takePosted } from '#src/servers/http/node-key.ts';
import { createRefreshFace } from '#src/servers/http/refresh-face.ts';
import { until } from '../support/lab-server.ts';
import { nodeRoot } from '../support/node-root.ts';
import { operatorKey } from '../support/nodes.ts';

test("the agent's script takes what is live, one order after another, and says what it could not do", async () => {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(await nodeRoot());
  const orders: string[] = [];
  const told: string[] = [];
  let wanted: NodeSettings = {};
  const whoAsks = () => ({ key: 'key', peer: parseIpv4('127.0.0.1') });
  const refused = (): never => {
    throw new Error('not asked for');
  };
  const app = express();
  const order = async (): Promise<string> => {
    await until(() => Promise.resolve(orders.length > 0), 'an order', 60_000).catch(() => {});
    return orders.shift() ?? '';
  };
  app.use(takePosted);
  app.use(createAgentFace({ order, frozen: refused, thawed: refused, answered: refused }, whoAsks));
  const archive = (): Promise<Buffer> => packRefresh({ files: node.filesFor(wanted), accounts: accountsText(wanted) });
  app.use(createRefreshFace({ archive, refreshed: (_key, _peer, id, how) => void told.push(`${id} ${how}`) }, whoAsks));
  const server = createServer(app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stack.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  await node.boot({}, typeof address === 'object' && address ? address.port : 0);
  cpSync(join(projectRoot, 'rootfs/agent/freezer'), node.at('run/cardless/freezer'));
  const agent = execa('chroot', [node.root, '/run/cardless/busybox', 'sh', '/run/cardless/freezer'], {
    reject: false,
    detached: true,
    stdin: 'ignore',
  });
  stack.defer(async () => {
    if (agent.pid !== undefined) {
      process.kill(-agent.pid, 'SIGKILL');
    }
    await agent;
  });
  await execa('mkfifo', [node.at('run/cardless/vitals.bell')]);
  wanted = {
    vitalsSeconds: 60,
    users: [{ name: 'ann', groups: ['docker'], authorizedKeys: [operatorKey] }],
    files: [
      { path: '/etc/live', content: 'one', live: true },
      { path: '/etc/still', content: 'one' },
    ],
  };
  orders.push('refresh a1\n');
  await until(() => Promise.resolve(told.length > 0), 'the answer');
  expect(told).toEqual(['a1 applied\nthere is no group docker for the user ann']);
  expect([node.read('etc/live'), node.exists('etc/still'), node.read('etc/cardless/keys/ann')]).toEqual(['one', false, `${operatorKey}\n`]);
  expect(node.read('run/cardless/vitals.conf')).toBe("VITALS_SECONDS='60'\n");
  expect(node.read('etc/passwd')).toContain('\nann:x:1001:1001:');
  wanted = {};
  orders.push('refresh b2\n');
  await until(() => Promise.resolve(told.length > 1), 'the answer');
  expect(told[1]).toBe('b2 applied');
  expect([node.exists('etc/live'), node.exists('etc/cardless/keys/ann'), node.exists('run/cardless/refresh')]).toEqual([
    false,
    false,
    false,
  ]);
  expect(node.read('etc/shadow')).toMatch(/^ann:!/m);
});

test('a file that was live and no longer is stays as it is until the next boot', async () => {
  using node = await nodeRoot();
  const file = { path: '/etc/conf', content: 'one' };
  await node.boot({ files: [{ ...file, live: true }] });
  expect(await node.refresh({ files: [{ ...file, content: 'two' }] })).toEqual([]);
  expect(node.read('etc/conf')).toBe('one');
  await node.boot({ files: [{ ...file, content: 'two' }] });
  expect(node.read('etc/conf')).toBe('two');
});
