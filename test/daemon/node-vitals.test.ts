import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { BootSessions } from '#src/daemon/boot-sessions.ts';
import { NodeVitals } from '#src/daemon/node-vitals.ts';
import { parseImageDigest } from '#src/domain/image.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { openDatabase } from '#src/store/database.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { SessionStore } from '#src/store/sessions.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { nodeRecord } from '../support/nodes.ts';

const red5 = parseNodeName('red5');
const peer = parseIpv4('10.0.0.5');

function start() {
  const database = openDatabase(join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db'));
  new NodeStore(database).add([nodeRecord(red5)]);
  const clock = new FakeClock();
  const sessions = new BootSessions(new SessionStore(database), clock, pino({ level: 'silent' }));
  const boot = (agentKey: string): void => {
    sessions.open({ node: red5, arch: 'arm64', client: 'pi3-rom', digest: parseImageDigest('a'.repeat(64)) });
    sessions.change(red5, { address: peer, agentKey });
  };
  return { clock, sessions, boot, vitals: new NodeVitals(sessions, clock) };
}

test('the last report of a node is kept with the time at which it was heard', async () => {
  const { clock, boot, vitals } = start();
  boot('key');
  expect(vitals.of(red5)).toBeUndefined();
  vitals.report('key', peer, { uptimeSeconds: 5 });
  clock.after(7000, () => {});
  await clock.run(() => false);
  expect(vitals.of(red5)).toEqual({ uptimeSeconds: 5, at: 0 });
  vitals.report('key', peer, { load: [1, 2, 3] });
  expect(vitals.of(red5)).toEqual({ load: [1, 2, 3], at: 7000 });
});

test('nobody else can report for a node', () => {
  const { boot, vitals } = start();
  boot('key');
  expect(() => vitals.report('another', peer, {})).toThrow(/not of a boot of yours/);
  expect(() => vitals.report('key', parseIpv4('10.0.0.6'), {})).toThrow(/not of a boot of yours/);
  expect(vitals.of(red5)).toBeUndefined();
});

test('what was said before a node booted anew, or by one that is no more, is not shown', () => {
  const { sessions, boot, vitals } = start();
  boot('key');
  vitals.report('key', peer, { uptimeSeconds: 5 });
  boot('new-key');
  expect(vitals.of(red5)).toBeUndefined();
  expect(() => vitals.report('key', peer, {})).toThrow(/not of a boot of yours/);
  vitals.report('new-key', peer, { uptimeSeconds: 1 });
  expect(vitals.of(red5)).toMatchObject({ uptimeSeconds: 1 });
  sessions.forget(red5);
  expect(vitals.of(red5)).toBeUndefined();
});
