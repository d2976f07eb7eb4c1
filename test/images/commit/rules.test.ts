import { gunzipSync } from 'node:zlib';
import { extract } from 'tar-stream';
import { describe, expect, test } from 'vitest';
import { packSeed } from '#src/daemon/seed.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import type { Change } from '#src/images/commit/change.ts';
import { covers, reachesInto, ruleFor } from '#src/images/commit/rules.ts';
import { type Choice, select } from '#src/images/commit/selection.ts';
import { seedFiles } from '#src/policy/render-seed.ts';
import { seedFacts } from '../../support/seed-facts.ts';

const all: Choice = { paths: [], exclude: [], keepAptLists: false };

function added(path: string, type: Change['type'] = 'file'): Change {
  return { path, change: 'added', type, what: [] };
}

async function seedPaths(): Promise<string[]> {
  const seed = await packSeed({
    files: seedFiles(seedFacts()),
    accounts: '',
    identity: { privateKey: 'private', publicKey: 'public', machineId: 'f'.repeat(32) },
    hostCertificate: 'certificate',
    agentKey: 'secret',
    server: parseIpv4('10.0.0.1'),
    httpPort: 80,
  });
  const paths: string[] = [];
  const reader = extract();
  reader.end(gunzipSync(seed));
  for await (const entry of reader) {
    paths.push(`/${entry.header.name}`);
    entry.resume();
  }
  return paths;
}

describe('rules', () => {
  test('all that the server writes at every boot is covered, and so are the folders that it makes for that', async () => {
    const paths = await seedPaths();
    expect(paths.length).toBeGreaterThan(10);
    expect(paths.filter((path) => ruleFor(path, false)?.kind !== 'seed')).toEqual([]);
    const folders = new Set(paths.flatMap((path) => path.split('/').map((_, index, names) => names.slice(0, index).join('/'))));
    folders.delete('');
    const changes = [...[...folders].map((path) => added(path, 'directory')), ...paths.map((path) => added(path))];
    const ordered = changes.toSorted((a, b) => (a.path < b.path ? -1 : 1));
    expect(select(ordered, all).taken).toEqual([]);
  });

  test.each([
    ['/var/log', false, undefined],
    ['/var/log/nginx', true, undefined],
    ['/var/log/nginx', false, 'state'],
    ['/var/log/nginx/error.log', false, 'state'],
    ['/var/log/journal', true, 'state'],
    ['/tmp', true, undefined],
    ['/tmp/a/b', false, 'state'],
    ['/etc/ssh/ssh_host_rsa_key', false, 'seed'],
    ['/etc/ssh/sshd_config', false, undefined],
    ['/etc/hostname.d', true, undefined],
    ['/home/ann/.bash_history', false, 'identity'],
    ['/home/ann/.ssh/authorized_keys', false, undefined],
    ['/etc/udev/rules.d/70-persistent-net.rules', false, 'identity'],
    ['/var/lib/systemd/random-seed', false, 'identity'],
  ] as const)('%s (a folder: %s) is of kind %s', (path, isFolder, kind) => {
    expect(ruleFor(path, isFolder)?.kind).toBe(kind);
  });

  test('patterns', () => {
    expect(covers('/a/*.txt', '/a/b.txt/below')).toBe(true);
    expect(covers('/a/*.txt', '/a/b/c.txt')).toBe(false);
    expect(covers('/a.b', '/axb')).toBe(false);
    expect(covers('/a/', '/a')).toBe(true);
    expect(reachesInto('/a/b/*', '/a')).toBe(true);
    expect(reachesInto('/a/b', '/a/b')).toBe(false);
  });
});

describe('selection', () => {
  const paths = (changes: readonly Change[]): string[] => changes.map(({ path }) => path);

  test('--paths takes what is below them, and the new folders that these are in', () => {
    const changes = [added('/opt', 'directory'), added('/opt/app', 'directory'), added('/opt/app/x'), added('/opt/other'), added('/usr/x')];
    const { taken, leftOut } = select(changes, { ...all, paths: ['/opt/app'] });
    expect(paths(taken)).toEqual(['/opt', '/opt/app', '/opt/app/x']);
    expect(leftOut.map(({ path, reason }) => [path, reason])).toEqual([
      ['/opt/other', 'not below --paths'],
      ['/usr/x', 'not below --paths'],
    ]);
  });

  test('identity is left out, whatever --paths says', () => {
    expect(select([added('/etc/machine-id')], { ...all, paths: ['/etc'] }).taken).toEqual([]);
  });

  test('what the settings of the node gave it is left out: a secret above all', () => {
    const { taken, leftOut } = select([added('/etc/app.key'), added('/etc/app.key.own')], { ...all, given: ['/etc/app.key'] });
    expect(paths(taken)).toEqual(['/etc/app.key.own']);
    expect(leftOut.map(({ reason }) => reason)).toEqual(['given to the node by its settings']);
  });

  test("--exclude, and apt's lists when they are wanted", () => {
    const changes = [added('/home/a/.cache', 'directory'), added('/home/a/.cache/x'), added('/var/lib/apt/lists/deb')];
    const { taken, leftOut } = select(changes, { paths: [], exclude: ['/home/*/.cache'], keepAptLists: true });
    expect(paths(taken)).toEqual(['/var/lib/apt/lists/deb']);
    expect(leftOut.map(({ reason }) => reason)).toEqual(['--exclude /home/*/.cache', '--exclude /home/*/.cache']);
    expect(select(changes, all).leftOut.map(({ path }) => path)).toEqual(['/var/lib/apt/lists/deb']);
  });

  test('a folder that was removed as a whole is taken as a whole or not at all', () => {
    const removed: Change = { path: '/usr/share', change: 'removed', type: 'directory', what: [], below: 9 };
    expect(() => select([removed], { ...all, exclude: ['/usr/share/doc'] })).toThrow(/cannot keep a part/);
    expect(() => select([removed], { ...all, paths: ['/usr/share/doc'] })).toThrow(/cannot take a part/);
    expect(select([removed], { ...all, exclude: ['/usr'] }).taken).toEqual([]);
    expect(select([removed], { ...all, paths: ['/usr'] }).taken).toEqual([removed]);
  });
});
