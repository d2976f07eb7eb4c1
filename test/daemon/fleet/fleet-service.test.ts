import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { BootSessions } from '#src/daemon/boot-sessions.ts';
import { createFleetService } from '#src/daemon/fleet/fleet-service.ts';
import { NodeContents } from '#src/daemon/fleet/node-contents.ts';
import { UserError } from '#src/domain/errors.ts';
import { parseImageDigest } from '#src/domain/image.ts';
import { parseImageRef } from '#src/domain/image-ref.ts';
import { parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { type NodeName, parseNodeName } from '#src/domain/node.ts';
import { openDatabase } from '#src/store/database.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { SessionStore } from '#src/store/sessions.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { operatorKey } from '../../support/nodes.ts';

const cluster = `# our cluster
groups:
  lab:
    labels: {room: 12}
  workers:
    parent: lab
    image: debian-docker # with containers
    authorizedKeys: [${operatorKey}]
nodes:
  red[5-7]: # three
    serial: [91cdf03d, 91cdf03e, 91cdf03f]
    ip: 10.77.0.[5-7]
    group: workers
  blue[1-2]:
`;

function start(listens = true) {
  const file = join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db');
  const database = openDatabase(file);
  const nodes = new NodeStore(database);
  const sessions = new BootSessions(new SessionStore(database), new FakeClock(), pino({ level: 'silent' }));
  const removed: NodeName[] = [];
  let lookup = (): void => {};
  const duringLookup = (work: () => void): void => {
    lookup = work;
  };
  const service = createFleetService({
    nodes,
    sessions,
    contents: new NodeContents({
      authorizedKeys: [],
      domain: 'cluster.internal',
      sshCa: 'ssh-ed25519 AAAA ca',
      archOf: () => 'arm64',
      drawOf: () => undefined,
      addressOf: (node) => node.address,
      nextImages: (all) => Promise.resolve(all.map(() => [])),
    }),
    facts: {
      domain: 'cluster.internal',
      served: [{ address: parseIpv4('10.77.0.1'), subnet: parseSubnet('10.77.0.0/24') }],
      leaseHolder: () => undefined,
    },
    imageRef: (text, force) => {
      lookup();
      lookup = () => {};
      if (text === 'nothing' && !force) {
        throw new UserError('not-found', 'There is no image "nothing"');
      }
      return Promise.resolve(parseImageRef(text));
    },
    afterRemoval: (names) => {
      removed.push(...names);
      return Promise.resolve();
    },
    listens: () => listens,
    onChange: () => {},
  });
  type Result = Readonly<{
    everybody: string;
    dns: string;
    groups: object[];
    nodes: { name: string; action: string; changes: { what: string }[]; record: string[]; reboot: boolean }[];
    unlisted: string[];
  }>;
  const apply = async (text: string, change: object = {}): Promise<Result> =>
    (await service.apply({
      name: 'cluster.yaml',
      text,
      sources: {},
      dryRun: false,
      prune: false,
      merge: false,
      force: false,
      remember: true,
      ...change,
    })) as Result;
  return { file, nodes, sessions, service, apply, removed, duringLookup };
}

const actions = (result: { nodes: { name: string; action: string }[] }): Record<string, string> =>
  Object.fromEntries(result.nodes.map(({ name, action }) => [name, action]));

test('a file makes nodes with what they inherit, is durable, and changes nothing the second time', async () => {
  const { file, nodes, apply } = start();
  expect(actions(await apply(cluster, { dryRun: true }))).toEqual({ blue1: 'add', blue2: 'add', red5: 'add', red6: 'add', red7: 'add' });
  expect(nodes.list()).toEqual([]);
  await apply(cluster);
  for (const store of [nodes, new NodeStore(openDatabase(file))]) {
    expect(store.get(parseNodeName('red6'))).toMatchObject({
      serial: '91cdf03e',
      address: '10.77.0.6',
      image: 'debian-docker',
      groups: ['workers', 'lab'],
      settings: { labels: { room: '12' } },
      own: {},
    });
    expect(store.get(parseNodeName('blue1'))).toMatchObject({ image: 'debian-13', groups: [] });
  }
  const again = await apply(cluster);
  expect(new Set(Object.values(actions(again)))).toEqual(new Set(['none']));
  expect(again.everybody).toBe('none');
});

test('what is said of a group changes its nodes alone; a live file needs no boot, an image does', async () => {
  const { apply } = start();
  await apply(cluster);
  const live = await apply(cluster.replace(/ +authorizedKeys.*\n/, ''), { dryRun: true });
  expect(actions(live)).toEqual({ blue1: 'none', blue2: 'none', red5: 'change', red6: 'change', red7: 'change' });
  expect(live.nodes.find(({ name }) => name === 'red5')).toMatchObject({
    changes: [{ what: '/root/.ssh/authorized_keys' }],
    reboot: false,
  });
  expect(live.groups).toContainEqual({ name: 'workers', action: 'change' });
  const boot = await apply(cluster.replace('parent: lab', 'parent: lab\n    overlay: ephemeral'), { dryRun: true });
  expect(boot.nodes.find(({ name }) => name === 'red5')).toMatchObject({ changes: [{ what: 'overlay', change: 'changed' }], reboot: true });
});

test('a node that is not in the file stays, or goes when that is wanted', async () => {
  const { nodes, apply, removed } = start();
  await apply(cluster);
  const less = cluster.replace('  blue[1-2]:\n', '');
  expect(await apply(less)).toMatchObject({ unlisted: ['blue1', 'blue2'] });
  expect(nodes.list()).toHaveLength(5);
  await apply(less, { prune: true });
  expect(removed).toEqual(['blue1', 'blue2']);
  expect(nodes.list().map(({ name }) => name)).toEqual(['red5', 'red6', 'red7']);
});

test('two nodes change places; a board that was claimed for a node is left to it', async () => {
  const { nodes, apply } = start();
  await apply(cluster);
  await apply(cluster.replace('[91cdf03d, 91cdf03e, 91cdf03f]', '[91cdf03e, 91cdf03d, 91cdf03f]'));
  expect(nodes.list().map(({ serial }) => serial)).toEqual([undefined, undefined, '91cdf03e', '91cdf03d', '91cdf03f']);
  nodes.update(parseNodeName('blue1'), { serial: '00000001' as never });
  await apply(cluster.replace('room: 12', 'room: 13'));
  expect(nodes.get(parseNodeName('blue1'))).toMatchObject({ serial: '00000001' });
});

test('everything that is wrong with a fleet is told at once, with its line, and nothing is applied', async () => {
  const { nodes, apply } = start();
  await apply(cluster);
  const before = nodes.list();
  const text = [
    'groups:',
    '  a: {parent: b}',
    '  b: {parent: a}',
    '  c: {parent: workrs}',
    'nodes:',
    '  red5: {serial: 00000001, ip: 10.77.0.1}',
    '  red6: {serial: 00000001, ip: 10.99.0.6}',
    '  x[1-3]: {ip: "10.77.0.[1-2]"}',
    '  y1: {group: labb, image: nothing}',
    '  red[6-7]: {}',
  ].join('\n');
  const said = await apply(text).then(
    () => 'nothing',
    (error: unknown) => String(error),
  );
  expect(said).toMatch(/line 2: these groups inherit from one another: a -> b -> a/);
  expect(said).toMatch(/line 4: c: there is no group "workrs"; did you mean "workers"\?/);
  expect(said).toMatch(/line 6: red5: the address 10\.77\.0\.1 is this server's own/);
  expect(said).toMatch(/line 7: red6: the address 10\.99\.0\.6 is outside of every subnet/);
  expect(said).toMatch(/line 7: red6: red5 has the serial 00000001 too/);
  expect(said).toMatch(/line 8: 3 nodes but 2 values for ip in "10\.77\.0\.\[1-2\]"/);
  expect(said).toMatch(/line 9: y1: there is no group "labb"; did you mean "lab"\?/);
  expect(said).toMatch(/line 9: There is no image "nothing"/);
  expect(said).toMatch(/line 10: red6 stands here and in "red6"/);
  expect(nodes.list()).toEqual(before);
});

test('an export is the file with its comments; what was changed since is brought up to date', async () => {
  const { nodes, service, apply } = start();
  await apply(cluster);
  expect(service.export()).toContain('# our cluster');
  expect(service.export()).toContain('red[5-7]:');
  nodes.update(parseNodeName('red6'), { own: { overlay: 'ephemeral' } });
  const text = service.export();
  expect(text).toContain('image: debian-docker # with containers');
  expect(text).not.toContain('red[5-7]:');
  const copy = start();
  await copy.apply(text);
  expect(copy.nodes.list()).toEqual(nodes.list());
});

test('an export of a fleet that no file was ever applied to makes the same fleet', async () => {
  const { nodes, service } = start();
  nodes.add([
    { name: parseNodeName('red5'), macs: ['b8:27:eb:00:00:01' as never], own: { dataBytes: 0, overlayBytes: 2 ** 30 }, reimage: false },
  ]);
  const text = service.export();
  expect(text).toContain('\nnodes:\n  red5:\n    mac: ');
  const copy = start();
  await copy.apply(text);
  expect(copy.nodes.list()).toEqual(nodes.list());
});

test('a file that says nothing of all nodes leaves that alone; one that is pruned by does not', async () => {
  const { nodes, apply } = start();
  await apply(`settings: {passwordLogin: true}\n${cluster}`);
  await apply('nodes: {green1: {}}');
  expect(nodes.fleet.everybody).toEqual({ passwordLogin: true });
  expect(nodes.list()).toHaveLength(6);
  await apply('nodes: {green1: {}}', { prune: true });
  expect(nodes.fleet.everybody).toEqual({});
});

test('a list keeps what it does not say', async () => {
  const { nodes, apply } = start();
  await apply(cluster);
  nodes.set(parseNodeName('red5'), { dataBytes: 2 ** 33, labels: { rack: 'a' } });
  await apply('nodes:\n  red5: {"labels":{"room":"13"}}\n  new1: {"ip":"10.77.0.20"}\n', { merge: true, remember: false });
  expect(nodes.get(parseNodeName('red5'))).toMatchObject({
    serial: '91cdf03d',
    address: '10.77.0.5',
    groups: ['workers', 'lab'],
    dataBytes: 2 ** 33,
    settings: { labels: { rack: 'a', room: '13' } },
  });
  expect(nodes.fleet.document?.text).toBe(cluster);
});

test('a node that no longer fits does not stand in the way of others', async () => {
  const { nodes, apply } = start();
  nodes.add([{ name: parseNodeName('far1'), macs: [], own: {}, reimage: false, address: parseIpv4('10.99.0.1') }]);
  await apply(cluster);
  expect(nodes.list()).toHaveLength(6);
});

test('what changes while images are looked up is not undone', async () => {
  const { nodes, service, apply, duringLookup } = start();
  await apply(cluster);
  duringLookup(() => nodes.update(parseNodeName('blue1'), { serial: '00000001' as never, macs: ['dc:a6:32:00:00:01' as never] }));
  await apply(cluster.replace('room: 12', 'room: 13'));
  expect(nodes.get(parseNodeName('blue1'))).toMatchObject({ serial: '00000001', macs: ['dc:a6:32:00:00:01'] });
  expect(service.export()).toContain('00000001');
});

test('a rename with the same board and address goes through when the old name goes', async () => {
  const { nodes, apply } = start();
  await apply(cluster);
  await apply(cluster.replace('red[5-7]', 'green[5-7]'), { prune: true });
  expect(nodes.list().map(({ name }) => name)).toEqual(['blue1', 'blue2', 'green5', 'green6', 'green7']);
});

test('labels that change are told', async () => {
  const { apply } = start();
  await apply(cluster);
  const plan = await apply(cluster.replace('room: 12', 'room: 13'), { dryRun: true });
  expect(plan.nodes.find(({ name }) => name === 'red5')?.record).toEqual(['labels room=12 -> room=13']);
});

test.each([
  ['an entry with nothing behind it', 'nodes:\n  blue1:\n'],
  ['an alias', 'groups: {g: &x {overlay: ephemeral}}\nnodes:\n  green1: &n {ip: 10.77.0.30}\n  blue1: *x\n'],
  ['no nodes at all', 'nodes:\n'],
])('an export after a file with %s', async (_what, text) => {
  const { nodes, service, apply } = start();
  await apply(text);
  const blue1 = parseNodeName('blue1');
  if (!nodes.get(blue1)) {
    nodes.add([{ name: blue1, macs: [], own: {}, reimage: false }]);
  }
  nodes.update(blue1, { macs: ['dc:a6:32:00:00:01' as never] });
  const copy = start();
  await copy.apply(service.export());
  expect(copy.nodes.list()).toEqual(nodes.list());
});

test('a hundred nodes are planned', async () => {
  const { apply } = start();
  const many = `nodes:\n  n[001-100]: {ip: "10.77.0.[100-199]", group: w}\ngroups: {w: {}}\n`;
  await apply(many);
  const result = await apply(many.replace('w: {}', 'w: {timeZone: Europe/Berlin}'), { dryRun: true });
  expect(result.nodes).toHaveLength(100);
});

test('templates and paths that cannot be given to nodes are told for each of them, with file and line', async () => {
  const { nodes, apply } = start();
  await apply(cluster);
  const before = nodes.list();
  const text = `settings:
  variables: {port: 80}
groups:
  workers:
    files:
      - {path: /etc/app.conf, template: true, content: "# app\\nport={{ variables.prot }}"}
      - {path: /etc/fine.conf, template: true, content: "{{ variables.port }} {{ cluster.domain }} {{ nodes.size }}"}
nodes:
  red[5-7]: {group: workers}
  blue[1-2]:
    files:
      - {path: /etc/passwd, content: x}
      - {path: /run/x, content: x}
      - {path: /etc/a, content: x}
      - {path: /etc/a/b, content: x}
    secrets: [{name: k, path: /etc/a}]
`;
  const said = await apply(text).then(() => '', String);
  expect(said).toContain('line 6: red[5-7]: /etc/app.conf, line 2: undefined variable: variables.prot');
  expect(said).toContain('line 12: blue[1-2]: /etc/passwd is written at each boot from users');
  expect(said).toContain('line 13: blue[1-2]: /run/x would not be seen');
  expect(said).toContain('line 15: blue[1-2]: /etc/a/b cannot be a file while /etc/a is one');
  expect(said).toContain('line 16: blue[1-2]: /etc/a is also the path of a file');
  expect(said).toContain('is wrong in 5 places');
  expect(nodes.list()).toEqual(before);
});

test('what no file may say, what cannot be read and what does not fit together are told in one go', async () => {
  const { nodes, apply } = start();
  const text = `settings: {imagee: x}
groups:
  a: {parent: b}
  b: {parent: a, overlay: maybe}
nodes:
  red[5-6]: {ip: "10.77.0.[5-6]", serial: [bad1, bad2], group: wrokers}
  red7: {ip: 10.77.0.6, files: [{path: /etc/x, mode: "9", content: x}]}
  red8: {ip: 10.99.0.8}
  red9: {secrets: [{name: munge, path: /etc/munge, bytes: 32}]}
  red10: {secrets: [{name: munge, path: /etc/munge, bytes: 64}]}
`;
  const said = await apply(text).then(() => '', String);
  for (const part of [
    'line 1: settings: there is no key "imagee"; did you mean "image"?',
    'line 3: these groups inherit from one another: a -> b -> a',
    'line 4: groups.b.overlay: "maybe"',
    '"bad1"',
    '"bad2"',
    'there is no group "wrokers"',
    'line 7: red7: red6 has the address 10.77.0.6 too',
    'line 7: nodes.red7.files[0].mode: "9"',
    'line 8: red8: the address 10.99.0.8 is outside',
    'line 10: red10: the secret munge is one for all, with 32 bytes for red9 and 64 here',
  ]) {
    expect(said).toContain(part);
  }
  expect(nodes.list()).toEqual([]);
});

test('nodes on which nobody has a key are told; records of the name server go when the file says so', async () => {
  const { nodes, apply } = start();
  expect(await apply(cluster)).toMatchObject({ withoutKey: ['blue1', 'blue2'] });
  await apply('dns: {records: [{name: mail, type: A, address: 10.77.0.9}]}\n');
  await apply('nodes: {}\n');
  expect(nodes.fleet.dns).toHaveLength(1);
  expect(await apply('dns: {records: []}\n')).toMatchObject({ dns: 'change' });
  expect(nodes.fleet.dns).toEqual([]);
});

test('a power driver that would fail whenever it is used is refused, where the file says it; records of the name server are told', async () => {
  const { apply } = start();
  const plugs =
    'groups:\n  plugs:\n    power: {driver: webhook, on: "http://{{ node.labels.plug }}/on"}\nnodes:\n  p[1-2]: {group: plugs}\n';
  await expect(apply(plugs)).rejects.toThrow(
    /line 3: p\[1-2\]: a template of its power driver is wrong: undefined variable: node.labels.plug/,
  );
  const named = 'dns: {records: [{name: mail.cluster.internal, type: A, address: 10.77.0.9}]}\nnodes: {}\n';
  expect([(await apply(named)).dns, (await apply(named)).dns]).toEqual(['change', 'none']);
});

test('users change live; what a user cannot be is refused', async () => {
  const { apply } = start();
  await apply(cluster);
  const withAnn = cluster.replace('parent: lab', `parent: lab\n    users: [{name: ann, authorizedKeys: [${operatorKey}]}]`);
  const plan = await apply(withAnn, { dryRun: true });
  expect(plan.nodes.find(({ name }) => name === 'red5')).toMatchObject({
    changes: [
      { what: 'user ann', change: 'added', live: true },
      { what: '/etc/cardless/keys/ann', change: 'added', live: true },
    ],
    reboot: false,
  });
  await apply(withAnn);
  const gone = await apply(cluster, { dryRun: true });
  expect(gone.nodes.find(({ name }) => name === 'red5')).toMatchObject({ changes: [{ change: 'removed', live: true }, {}], reboot: false });
  const wrong =
    'settings:\n  users:\n    - {name: root}\n    - {name: a, uid: 2000}\n    - {name: b, uid: 2000, shell: "/bin/a:b"}\nnodes: {red5: {}}';
  const said = await apply(wrong).then(() => '', String);
  expect(said).toContain('line 3: blue[1-2],red[5-7]: the user root belongs to the system; authorizedKeys is for its keys');
  expect(said).toContain('line 5: blue[1-2],red[5-7]: the users a and b have the same uid 2000');
  expect(said).toContain('line 5: blue[1-2],red[5-7]: "/bin/a:b" cannot be the shell of b');
});

test.each([true, false])('a plan tells whether the agent of a node that runs would hear of it (%s)', async (listens) => {
  const { nodes, sessions, service, apply } = start(listens);
  await apply(cluster);
  const name = parseNodeName('red5');
  sessions.open({ node: name, arch: 'arm64', client: 'pi3-rom', digest: parseImageDigest('a'.repeat(64)) });
  sessions.change(name, { outcome: 'ready', content: { '/etc/hosts': 'live 0', '/etc/gone': 'live 0', overlay: '0' } });
  const plan = await apply(cluster.replace('room: 12', 'room: 13'), { dryRun: true });
  expect(plan.nodes.find((node) => node.name === 'red5')).toMatchObject({ unreachable: !listens });
  expect(plan.nodes.find((node) => node.name === 'blue1')).toMatchObject({ unreachable: false });
  const [pending] = (await service.pending('red5')) as [{ changes: object[] }];
  expect(pending).toMatchObject({ state: 'outdated', unreachable: !listens });
  expect(pending.changes).toContainEqual({ what: '/etc/gone', change: 'removed', live: true });
  expect(nodes.list()).toHaveLength(5);
});
