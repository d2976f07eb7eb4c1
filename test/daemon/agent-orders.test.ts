import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { AgentOrders } from '#src/daemon/agent-orders.ts';
import { BootSessions } from '#src/daemon/boot-sessions.ts';
import { parseImageDigest } from '#src/domain/image.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { openDatabase } from '#src/store/database.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { SessionStore } from '#src/store/sessions.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { nodeRecord } from '../support/nodes.ts';

const red5 = parseNodeName('red5');
const peer = parseIpv4('10.0.0.5');
const key = 'agent-key';

function start() {
  const database = openDatabase(join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db'));
  new NodeStore(database).add([nodeRecord(red5, { serial: parseSerial('91cdf03d') })]);
  const clock = new FakeClock();
  const sessions = new BootSessions(new SessionStore(database), clock, pino({ level: 'silent' }));
  sessions.open({ node: red5, arch: 'arm64', client: 'pi3-rom', digest: parseImageDigest('a'.repeat(64)) });
  sessions.change(red5, { address: peer, agentKey: key });
  return { clock, orders: new AgentOrders(sessions, clock) };
}

async function outcome<T>(clock: FakeClock, promise: Promise<T>): Promise<T> {
  let isDone = false;
  const watched = promise.finally(() => {
    isDone = true;
  });
  watched.catch(() => {});
  await clock.run(() => isDone);
  return await watched;
}

/** As the node's script does it. */
async function hold(orders: AgentOrders, order: string, how = 'told', gone = new AbortController()): Promise<void> {
  const [verb, id = '', seconds] = order.trim().split(' ');
  expect([verb, Number(seconds)]).toEqual(['freeze', 60]);
  await orders.frozen(key, peer, id, gone.signal);
  orders.thawed(key, peer, id, how);
}

test('nobody waits for an agent that is about to hold its disk once the copy is cancelled', async () => {
  const { clock, orders } = start();
  const abort = new AbortController();
  const work = (): Promise<void> => Promise.reject(new Error('copied'));
  const node = orders.order(key, peer).then(() => abort.abort());
  expect(await outcome(clock, orders.whileFrozen(red5, work, abort.signal))).toMatchObject({
    reason: expect.stringContaining('cancelled'),
  });
  await node;
  expect([clock.now(), clock.pending]).toEqual([0, 0]);
  await expect(orders.whileFrozen(red5, work, abort.signal)).rejects.toThrow('aborted');
});

test('the work is done while the node waits for its answer', async () => {
  const { clock, orders } = start();
  const said: string[] = [];
  const node = orders.order(key, peer).then(async (order) => {
    await hold(orders, order);
    said.push('thawed');
  });
  const work = (): Promise<void> => {
    said.push('copied');
    return Promise.resolve();
  };
  expect(await outcome(clock, orders.whileFrozen(red5, work))).toEqual({ frozenMs: 0 });
  await node;
  expect(said).toEqual(['copied', 'thawed']);
  expect(clock.pending).toBe(0);
});

test.each([
  ['went on by its watchdog', 'watchdog', false],
  ['lost its connection', 'told', true],
])('a node that %s did not hold still', async (_name, how, isGone) => {
  const { clock, orders } = start();
  const gone = new AbortController();
  const node = orders.order(key, peer).then((order) => hold(orders, order, how, gone));
  const work = (): Promise<void> => {
    if (isGone) {
      gone.abort();
    }
    return Promise.resolve();
  };
  expect(await outcome(clock, orders.whileFrozen(red5, work))).toEqual({ reason: 'the node went on before the copy was complete' });
  await node;
});

test('a copy that fails lets the node go on as well', async () => {
  const { clock, orders } = start();
  const node = orders.order(key, peer).then((order) => hold(orders, order).catch((error: unknown) => error));
  const work = (): Promise<void> => Promise.reject(new Error('no space'));
  await expect(outcome(clock, orders.whileFrozen(red5, work))).rejects.toThrow('no space');
  await node;
});

test('nobody there, nobody who answers, and an agent that cannot', async () => {
  const { clock, orders } = start();
  const never = (): Promise<void> => Promise.reject(new Error('not to be called'));
  expect(await outcome(clock, orders.whileFrozen(red5, never))).toEqual({ reason: 'no agent of the node listens' });
  void orders.order(key, peer);
  expect(await outcome(clock, orders.whileFrozen(red5, never))).toEqual({ reason: 'the agent did not answer' });
  const node = orders.order(key, peer).then((order) => orders.thawed(key, peer, order.split(' ')[1] ?? '', 'there is no disk'));
  expect(await outcome(clock, orders.whileFrozen(red5, never))).toEqual({
    reason: 'the agent could not hold the disk: there is no disk',
  });
  await node;
});

test('orders are for the node whose key and address ask; none comes when there is none', async () => {
  const { clock, orders } = start();
  await expect(orders.order('another', peer)).rejects.toThrow(/not of a boot of yours/);
  await expect(orders.order(key, parseIpv4('10.0.0.6'))).rejects.toThrow(/not of a boot of yours/);
  await expect(orders.frozen(key, peer, 'old', new AbortController().signal)).rejects.toThrow(/no such order/);
  const first = orders.order(key, peer);
  const second = orders.order(key, peer);
  expect(await first).toBe('');
  expect(await outcome(clock, second)).toBe('');
});

test('an order is given when its node says that it took it, and only to that node', async () => {
  const { clock, orders } = start();
  const node = orders.order(key, peer).then((order) => {
    const [verb, id = '', seconds] = order.trim().split(' ');
    expect(() => orders.answered('another', peer, id, 'taken')).toThrow(/not of a boot of yours/);
    expect(() => orders.answered(key, peer, 'other', 'taken')).toThrow(/no such order/);
    orders.answered(key, peer, id, 'taken');
    return [verb, seconds];
  });
  expect(orders.listens(red5)).toBe(true);
  expect(await outcome(clock, orders.tell(red5, { verb: 'blink', seconds: 30 }))).toEqual({ taken: true });
  expect(await node).toEqual(['blink', '30']);
  expect(clock.pending).toBe(0);
});

test('an order that nobody takes says why', async () => {
  const { clock, orders } = start();
  expect(await outcome(clock, orders.tell(red5, { verb: 'reboot' }))).toEqual({ reason: 'no agent of the node listens' });
  void orders.order(key, peer);
  expect(await outcome(clock, orders.tell(red5, { verb: 'reboot' }))).toEqual({ reason: 'the agent did not answer' });
  void orders.order(key, peer).then((order) => orders.answered(key, peer, order.split(' ')[1] ?? '', 'it has no activity light'));
  expect(await outcome(clock, orders.tell(red5, { verb: 'blink', seconds: 1 }))).toEqual({
    reason: 'the agent could not: it has no activity light',
  });
});
