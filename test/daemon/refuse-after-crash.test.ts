import { mkdtempSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { BootSessions } from '#src/daemon/boot-sessions.ts';
import { Exports } from '#src/daemon/exports.ts';
import { refuseAfterCrash } from '#src/daemon/refuse-after-crash.ts';
import { parseImageDigest } from '#src/domain/image.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { DataVolumes } from '#src/overlays/data-volumes.ts';
import { openDatabase } from '#src/store/database.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { SessionStore } from '#src/store/sessions.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { nodeRecord } from '../support/nodes.ts';

test('an ephemeral node with a data volume must restart too, even when its link was lost; one without any disk goes on', async () => {
  const state = mkdtempSync(join(tmpdir(), 'cardless-'));
  const database = openDatabase(join(state, 'state.db'));
  const log = pino({ level: 'silent' });
  const nodes = new NodeStore(database);
  const sessions = new BootSessions(new SessionStore(database), new FakeClock(), log);
  const data = new DataVolumes(join(state, 'data'));
  const exports = new Exports(join(state, 'exports'));
  const [withData, without] = [parseNodeName('red5'), parseNodeName('red6')];
  for (const [name, address] of [
    [withData, '10.0.0.5'],
    [without, '10.0.0.6'],
  ] as const) {
    nodes.add([nodeRecord(name, { overlay: 'ephemeral' })]);
    sessions.open({ node: name, arch: 'amd64', client: 'ipxe', digest: parseImageDigest('a'.repeat(64)) });
    sessions.change(name, { address: parseIpv4(address), outcome: 'ready' });
  }
  await data.ensure(withData, 64 * 2 ** 20);
  await refuseAfterCrash({ exports, nodes, sessions, data, log });
  const record = join(state, 'exports/machine-boot');
  expect(readFileSync(record, 'utf8')).not.toBe('');
  writeFileSync(record, 'another boot');
  await refuseAfterCrash({ exports, nodes, sessions, data, log });
  expect(readlinkSync(join(state, 'exports/data/10.0.0.5'))).toBe(join(state, 'exports/reboot.img'));
  expect(() => readlinkSync(join(state, 'exports/data/10.0.0.6'))).toThrow('ENOENT');
  expect(sessions.of(withData)?.events.map(({ what }) => what)).toContain('disk refused');
  expect(sessions.of(without)?.events).toEqual([]);
  database.close();
});
