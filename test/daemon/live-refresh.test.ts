import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as breathe } from 'node:timers/promises';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { AgentOrders } from '#src/daemon/agent-orders.ts';
import { BootSessions } from '#src/daemon/boot-sessions.ts';
import { NodeContents } from '#src/daemon/fleet/node-contents.ts';
import { LiveRefresh } from '#src/daemon/live-refresh.ts';
import { parseImageDigest } from '#src/domain/image.ts';
import { type Ipv4, parseIpv4 } from '#src/domain/ipv4.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { openDatabase } from '#src/store/database.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { SessionStore } from '#src/store/sessions.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { nodeRecord, operatorKey } from '../support/nodes.ts';

const red5 = parseNodeName('red5');
const peer = parseIpv4('10.0.0.5');
const key = 'agent-key';

async function start() {
  const database = openDatabase(join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db'));
  const nodes = new NodeStore(database);
  nodes.add([nodeRecord('red5'), nodeRecord('red6')]);
  const clock = new FakeClock();
  const log = pino({ level: 'silent' });
  const sessions = new BootSessions(new SessionStore(database), clock, log);
  const addresses = new Map<string, Ipv4>([['red5', peer]]);
  const addressOf = ({ name }: { name: string }): Ipv4 | undefined => addresses.get(name);
  const contents = new NodeContents({
    authorizedKeys: [],
    domain: 'cluster.internal',
    sshCa: 'ssh-ed25519 AAAA ca',
    addressOf,
    archOf: () => 'arm64',
    drawOf: () => undefined,
    nextImages: (all) => Promise.resolve(all.map(() => [])),
  });
  sessions.open({ node: red5, arch: 'arm64', client: 'pi3-rom', digest: parseImageDigest('a'.repeat(64)) });
  const [parts = []] = await contents.partsOf([nodes.require(red5)], nodes.list());
  const content = Object.fromEntries(parts.map(({ what, value }) => [what, value]));
  sessions.change(red5, { address: peer, agentKey: key, outcome: 'ready', content });
  const agents = new AgentOrders(sessions, clock);
  const refresh = new LiveRefresh({ nodes, sessions, contents, agents, addressOf, clock, log });
  refresh.start();
  const orders: string[] = [];
  /** As the agent on the node does it. */
  const agent = async (how = 'applied'): Promise<void> => {
    const [verb, id = ''] = (await agents.order(key, peer)).trim().split(' ');
    if (verb === 'refresh') {
      orders.push(id);
      await refresh.archive(key, peer, id);
      refresh.refreshed(key, peer, id, how);
      await breathe();
    }
  };
  const events = (): string[] => (sessions.of(red5)?.events ?? []).map(({ what, detail = '' }) => `${what}: ${detail}`);
  return { nodes, clock, sessions, addresses, agents, refresh, agent, orders, events };
}

test('a change of keys reaches the node, which is then told nothing more', async () => {
  const { nodes, clock, refresh, agent, orders, events } = await start();
  const working = agent();
  nodes.set(red5, { authorizedKeys: [operatorKey], files: [{ path: '/etc/still', content: 'x' }] });
  refresh.changed();
  await clock.run(() => orders.length > 0, 60_000);
  await working;
  expect(events()).toEqual(['refreshed: /root/.ssh/authorized_keys']);
  void agent();
  refresh.changed();
  await clock.run(() => orders.length > 1, 30_000);
  expect(orders).toHaveLength(1);
});

test('an address that another node gets is in the hosts of all within a minute, without anybody saying so', async () => {
  const { clock, addresses, agent, orders, events } = await start();
  const working = agent('applied\n/etc/x cannot be written');
  await clock.run(() => orders.length > 0, 30_000);
  expect(orders).toEqual([]);
  addresses.set('red6', parseIpv4('10.0.0.6'));
  const before = clock.now();
  await clock.run(() => orders.length > 0, 60_000);
  expect(clock.now() - before).toBeLessThan(60_000);
  await working;
  expect(events()).toEqual(['refreshed: /etc/hosts', 'setting left out: /etc/x cannot be written']);
});

test('a node without an agent is tried again, and gets it when there is one', async () => {
  const { nodes, clock, refresh, agents, agent, orders, events } = await start();
  nodes.set(red5, { authorizedKeys: [operatorKey] });
  refresh.changed();
  await clock.run(() => false, 60_000);
  expect(agents.listens(red5)).toBe(false);
  const working = agent();
  expect(agents.listens(red5)).toBe(true);
  await clock.run(() => orders.length > 0, 60_000);
  await working;
  expect(events()).toEqual(['refreshed: /root/.ssh/authorized_keys']);
});

test('what failed is told, and tried again within a minute, but not at once; an order is for the node that got it', async () => {
  const { nodes, clock, refresh, agent, orders, events } = await start();
  nodes.set(red5, { authorizedKeys: [operatorKey] });
  const working = agent('it could not be fetched');
  refresh.changed();
  await clock.run(() => orders.length > 0, 60_000);
  await working;
  expect(events()).toEqual(['refresh failed: it could not be fetched']);
  void agent();
  await clock.run(() => orders.length > 1, 10_000);
  expect(orders).toHaveLength(1);
  await clock.run(() => orders.length > 1, 40_000);
  expect(orders).toHaveLength(2);
  await expect(refresh.archive('another', peer, orders[0] ?? '')).rejects.toThrow('not of a boot of yours');
  await expect(refresh.archive(key, peer, orders[0] ?? '')).rejects.toThrow('no such order');
});
