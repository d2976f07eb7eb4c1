import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findPlaces } from '#src/config/places.ts';
import { InterfaceSettings, Settings } from '#src/config/schema.ts';
import { NodeContents } from '#src/daemon/fleet/node-contents.ts';
import { Services } from '#src/daemon/services/services.ts';
import { parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { createLogger } from '#src/log/logger.ts';
import { openDatabase } from '#src/store/database.ts';
import { LeaseStore } from '#src/store/leases.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { nodeRecord } from '../support/nodes.ts';

function link(index: number, switches: object) {
  const name = `eth${index}`;
  const subnet = parseSubnet(`10.7${index}.0.0/24`);
  return {
    settings: InterfaceSettings.parse({ name, mode: 'full', ...switches }),
    facts: { name, index, address: parseIpv4(`10.7${index}.0.1`), subnet },
  };
}

test('a node is given what is on at the interface that it is behind, and plans show it', async () => {
  const state = mkdtempSync(join(tmpdir(), 'cardless-services-'));
  const database = openDatabase(join(state, 'state.db'));
  const nodes = new NodeStore(database);
  nodes.add([
    nodeRecord('red1', { address: parseIpv4('10.71.0.20') }),
    nodeRecord('red2', { address: parseIpv4('10.72.0.20'), own: { shared: [{ name: 'jobs', writable: true }] } }),
    nodeRecord('red3', { address: parseIpv4('10.73.0.20') }),
    nodeRecord('red4'),
  ]);
  const services = new Services({
    settings: Settings.parse({}),
    places: findPlaces({ state, env: {} }),
    nodes,
    leases: new LeaseStore(database),
    sessions: { of: () => undefined },
    addressOf: (node) => node.address,
    interfaces: [link(1, { timeServer: true }), link(2, { timeServer: 'local', sharedDirectory: true }), link(3, {})],
    clock: new FakeClock(),
    log: createLogger({ level: 'error', terminal: false }),
  });
  const contents = new NodeContents({
    authorizedKeys: [],
    addressOf: (node) => node.address,
    domain: 'cluster.internal',
    sshCa: 'ssh-ed25519 AAAA ca',
    archOf: () => 'arm64',
    drawOf: () => undefined,
    servicesOf: (node) => services.forNode(node),
    nextImages: (all) => Promise.resolve(all.map(() => [])),
  });
  const parts = await contents.partsOf(nodes.list(), nodes.list());
  const own = parts.map((all) => all.map(({ what }) => what).filter((what) => /timesyncd.conf|mnt/.test(what)));
  const time = '/etc/systemd/timesyncd.conf.d/10-cardless.conf';
  const units = ['mnt-jobs.mount', 'mnt-jobs.automount', 'remote-fs.target.wants/mnt-jobs.automount'];
  expect(own).toEqual([[time], [time, ...units.map((unit) => `/etc/systemd/system/${unit}`)], [], []]);
  const [, red2] = nodes.list();
  const mount = red2 && contents.of(red2, nodes.list()).files.find(({ path }) => path.endsWith('mnt-jobs.mount'));
  expect(mount?.text).toContain(`What=10.72.0.1:${state}/srv/jobs\n`);
  expect(services.list()).toEqual([]);
  database.close();
});

test('a service needs a subnet that is ours', () => {
  const parse = (more: object): boolean => InterfaceSettings.safeParse({ name: 'eth0', ...more }).success;
  for (const key of ['nameServer', 'gateway', 'timeServer', 'sharedDirectory']) {
    expect([parse({ [key]: true }), parse({ [key]: true, mode: 'off' }), parse({ [key]: true, mode: 'full' })]).toEqual([
      false,
      false,
      true,
    ]);
  }
});
