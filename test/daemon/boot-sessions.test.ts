import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { BootSessions } from '#src/daemon/boot-sessions.ts';
import { parseImageDigest } from '#src/domain/image.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { openDatabase } from '#src/store/database.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { SessionStore } from '#src/store/sessions.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { nodeRecord } from '../support/nodes.ts';

test('an address that a router has given to another node is no longer that of the first, also after a restart', () => {
  const database = openDatabase(join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db'));
  new NodeStore(database).add(['red5', 'red6'].map((name) => nodeRecord(name)));
  const store = new SessionStore(database);
  const sessions = (): BootSessions => new BootSessions(store, new FakeClock(), pino({ level: 'silent' }));
  const first = sessions();
  const [red5, red6, address] = [parseNodeName('red5'), parseNodeName('red6'), parseIpv4('192.168.1.15')];
  for (const node of [red5, red6]) {
    first.open({ node, arch: 'arm64', client: 'pi4', digest: parseImageDigest('a'.repeat(64)) });
  }
  first.bind(red5, address);
  expect(first.of(red5)?.address).toBe(address);
  first.bind(red6, address);
  for (const now of [first, sessions()]) {
    expect([red5, red6].map((node) => now.of(node)?.address)).toEqual([undefined, address]);
  }
});
