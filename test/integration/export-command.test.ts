import { mkdtemp, readFile, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { cardless } from '../support/lab-server.ts';

const cluster = `groups:
  workers: {labels: {rack: a}}
nodes:
  red[5-7]: {serial: [91cdf03d, 91cdf03e, 91cdf03f], ip: "10.77.0.[5-7]", group: workers}
  blue1: {mac: "b8:27:eb:00:00:01", image: "debian-docker", dataVolume: 8G, labels: {desk: "7, left"}}
`;

async function start() {
  const folder = await mkdtemp(join(tmpdir(), 'cardless-test-'));
  const state = join(folder, 'state');
  await writeFile(join(folder, 'cluster.yaml'), cluster);
  const run = async (...args: string[]): Promise<string> => {
    const result = await cardless(['--state', state, ...args]);
    expect(result.code, result.stderr).toBe(0);
    return result.stdout;
  };
  await run('apply', '-f', join(folder, 'cluster.yaml'), '--force');
  return { folder, state, run };
}

test('exports go to stdout, to files, and are kept current where the settings say', async () => {
  const { folder, state, run } = await start();
  expect(await run('export', 'hosts', '@workers,-red6')).toBe(
    '# Written by Cardless. Changes are lost.\n10.77.0.5 red5.cluster.internal red5\n10.77.0.7 red7.cluster.internal red7',
  );
  await run('export', 'clustershell', '--output', join(folder, 'groups.yaml'));
  expect(await readFile(join(folder, 'groups.yaml'), 'utf8')).toContain("'workers': 'red[5-7]'");
  const knownHosts = await run('export', 'known-hosts', 'red5');
  expect(knownHosts).toContain('@cert-authority *.cluster.internal,red5,red5.cluster.internal,10.77.0.5 ssh-ed25519 ');
  expect(await run('export', 'known-hosts', 'red5')).toBe(knownHosts);
  await writeFile(
    join(state, 'cardless.yaml'),
    `domain: lab.example\nexports:\n  - {format: hosts, file: ${join(folder, 'hosts')}, nodes: '@workers'}\n`,
  );
  await run('node', 'set', 'red6', '--ip', '10.77.0.66');
  expect(await readFile(join(folder, 'hosts'), 'utf8')).toContain('10.77.0.66 red6.lab.example red6\n');
});

test('node import reads the CSV again, and nothing changes', async () => {
  const { folder, run } = await start();
  await run('export', 'csv', '--output', join(folder, 'list.csv'));
  const imported = JSON.parse(await run('--json', 'node', 'import', join(folder, 'list.csv'), '--force'));
  const actions = imported.nodes.map(({ name, action }: { name: string; action: string }) => [name, action]);
  expect(actions).toEqual([
    ['blue1', 'none'],
    ['red5', 'none'],
    ['red6', 'none'],
    ['red7', 'none'],
  ]);
});

test('Ansible runs the inventory script, which asks the server', async () => {
  const { folder, run } = await start();
  const script = join(folder, 'inventory');
  await run('export', 'ansible', '--script', '--output', script);
  expect((await stat(script)).mode & 0o777).toBe(0o755);
  expect(await readFile(script, 'utf8')).toContain(join(projectRoot, 'cardless'));
  const listed = await execa('ansible-inventory', ['-i', script, '--list'], { env: { ANSIBLE_INVENTORY_UNPARSED_FAILED: 'True' } });
  expect(JSON.parse(listed.stdout).workers.hosts).toEqual(['red5', 'red6', 'red7']);
  const host = await execa(script, ['--host', 'red6']);
  expect(JSON.parse(host.stdout)).toMatchObject({ ansible_host: '10.77.0.6', cardless_groups: ['workers'] });
});

test('what is wrong is said, and no file is left', async () => {
  const { folder, state } = await start();
  const fails = async (...args: string[]): Promise<string> => {
    const result = await cardless(['--state', state, 'export', ...args]);
    expect(result.code).toBe(args.includes('red99') ? 1 : 2);
    return result.stderr;
  };
  expect(await fails('ansibel')).toContain('did you mean ansible?');
  expect(await fails('hosts', 'red99')).toContain('There is no node "red99"');
  expect(await fails('hosts', '--list')).toContain('--list is for Ansible');
  expect(await fails('hosts', '--output', join(folder, 'nowhere/hosts'))).toContain('cannot be written');
  expect(await fails('ssh-config', '--jump', 'a b')).toContain('is not a host');
});
