import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ExportFormat } from '#src/domain/export-format.ts';
import { renderers } from '#src/policy/exports/renderers.ts';
import { exportFacts } from '../support/export-facts.ts';
import { operatorKey } from '../support/nodes.ts';
import { unpackedCommand } from '../support/unpacked.ts';

const facts = exportFacts();
let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cardless-export-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function file(name: string, format: ExportFormat, change: Parameters<typeof exportFacts>[0] = {}): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, renderers[format].render({ ...facts, ...change }));
  return path;
}

const out = async (program: string, args: readonly string[], env: Record<string, string> = {}): Promise<string> => {
  const result = await execa(program, args, { env });
  return result.stdout;
};

describe('ansible-inventory', () => {
  const env = { ANSIBLE_INVENTORY_UNPARSED_FAILED: 'True', ANSIBLE_LOCALHOST_WARNING: 'False' };
  interface List {
    readonly _meta: { readonly hostvars: Record<string, Record<string, unknown>> };
    readonly [group: string]: { readonly hosts?: string[]; readonly children?: string[] } | object;
  }
  const list = async (inventory: string): Promise<List> => {
    const result = await execa('ansible-inventory', ['-i', inventory, '--list'], { env });
    expect(result.stderr).toBe('');
    return JSON.parse(result.stdout);
  };

  test('reads the YAML, and the dynamic inventory says the same', async () => {
    const fromYaml = await list(await file('inventory.yaml', 'ansible', { jump: 'me@server' }));
    expect(fromYaml['pi_workers']).toMatchObject({ hosts: ['red5', 'red6', 'red7'] });
    expect(fromYaml['lab']).toMatchObject({ hosts: ['pc1'], children: ['pi_workers'] });
    expect(fromYaml._meta.hostvars['red6']).toMatchObject({
      ansible_host: '10.77.0.6',
      ansible_ssh_common_args: '-o HostKeyAlias=red6 -o ProxyJump=me@server',
      cardless_labels: { rack: 'a', 'odd/name': 'two words, and 5%' },
      cardless_cores: 4,
    });
    const script = join(folder, 'inventory.sh');
    const answer = await file('answer.json', 'ansible-list', { jump: 'me@server' });
    await writeFile(script, `#!/bin/sh\n[ "$1" = --list ] && cat '${answer}'\n`, { mode: 0o755 });
    const fromScript = await list(script);
    const groups = (all: List): unknown => ['all', 'lab', 'pi_workers', 'ungrouped'].map((name) => all[name]);
    expect(fromScript._meta).toEqual(fromYaml._meta);
    expect(JSON.stringify(groups(fromScript))).toBe(JSON.stringify(groups(fromYaml)));
  });
});

test('nodeset of ClusterShell knows groups and labels, and folds as we do', async () => {
  await mkdir(join(folder, 'groups.d'), { recursive: true });
  await file('groups.d/cardless.yaml', 'clustershell');
  await writeFile(join(folder, 'groups.conf'), `[Main]\ndefault: cardless\nautodir: ${join(folder, 'groups.d')}\n`);
  const nodeset = (...args: string[]): Promise<string> => out('nodeset', [`--groupsconf=${join(folder, 'groups.conf')}`, ...args]);
  expect(await nodeset('-f', '@pi-workers')).toBe('red[5-7]');
  expect(await nodeset('-f', '-a')).toBe('blue9,pc1,red[5-7]');
  expect(await nodeset('-e', '@rack:a')).toBe('red5 red6');
  expect(await nodeset('-f', '@lab!@rack:b')).toBe('pc1,red[5-6]');
});

test('nodeattr of genders', async () => {
  const genders = await file('genders', 'genders');
  const nodeattr = (...args: string[]): Promise<string> => out('nodeattr', ['-f', genders, ...args]);
  await nodeattr('-k');
  expect(await nodeattr('-c', 'pi-workers')).toBe('red5,red6,red7');
  expect(await nodeattr('-c', 'rack=a')).toBe('red5,red6');
  expect(await nodeattr('-v', 'red5', 'odd/name')).toBe('two_words__and_5%');
  expect(await nodeattr('-v', 'pc1', 'image')).toBe('hpc:stable');
});

test('ssh -G resolves names, also the full ones and through a jump host', async () => {
  const config = await file('ssh_config', 'ssh-config', { jump: 'me@server', user: 'pi' });
  for (const name of ['red6', 'red6.cluster.internal']) {
    const lines = (await out('ssh', ['-G', '-F', config, name])).split('\n');
    expect(lines).toEqual(expect.arrayContaining(['hostname 10.77.0.6', 'user pi', 'hostkeyalias red6', 'proxyjump me@server']));
  }
});

test('ssh-keygen finds the authority and the keys in known_hosts', async () => {
  const known = await file('known_hosts', 'known-hosts');
  const find = (host: string): Promise<string> => out('ssh-keygen', ['-F', host, '-f', known]);
  const found = await find('red5');
  expect(found).toContain('@cert-authority');
  expect(found).toContain(operatorKey.split(' ')[1] ?? '?');
  expect(await find('new.cluster.internal')).toContain('@cert-authority');
  await expect(find('github.com')).rejects.toThrow();
});

test('the resolver of the C library reads hosts, in a name space whose /etc/hosts it is', async () => {
  const hosts = await file('hosts', 'hosts');
  const getent = 'mount --bind "$1" /etc/hosts && getent -s files hosts "$2"';
  const look = (name: string): Promise<string> => out('unshare', ['--mount', 'sh', '-c', getent, 'sh', hosts, name]);
  expect((await look('red7')).split(/\s+/)).toEqual(['10.77.0.7', 'red7.cluster.internal', 'red7']);
  expect((await look('10.77.0.101')).split(/\s+/)).toEqual(['10.77.0.101', 'pc1.cluster.internal', 'pc1']);
  await expect(look('blue9')).rejects.toThrow();
});

test('dnsmasq takes its lines', async () => {
  const result = await execa('dnsmasq', ['--test', '-C', await file('dnsmasq.conf', 'dnsmasq')]);
  expect(result.stderr).toContain('syntax check OK');
});

test('scontrol of Slurm reads the node lines, and would refuse wrong ones', async () => {
  const scontrol = { name: 'slurm', packages: ['slurm-client'], program: 'usr/bin/scontrol', libraries: 'slurm-wlm', probe: ['--version'] };
  const [program, args] = await unpackedCommand(scontrol, ['show', 'hostnames', 'red[5-6]']);
  // Where its plugins are: beside the libraries that it was unpacked with, or where the package has them.
  const libraries = args.find((arg) => arg.startsWith('LD_LIBRARY_PATH='))?.split(/[=:]/) ?? [];
  const plugins = libraries.find((path) => path.endsWith('-gnu/slurm-wlm'));
  const head = [
    'ClusterName=test',
    'SlurmctldHost=pc1',
    'AuthType=auth/none',
    ...(plugins === undefined ? [] : [`PluginDir=${plugins}`]),
    '',
  ];
  const path = join(folder, 'slurm.conf');
  const read = async (lines: string): Promise<string> => {
    await writeFile(path, `${head.join('\n')}${lines}`);
    return await out(program, args, { SLURM_CONF: path });
  };
  const lines = renderers.slurm.render(facts);
  expect(await read(lines)).toBe('red5\nred6');
  await expect(read(lines.replace('CPUs=4', 'CPUs=four'))).rejects.toThrow('CPUs value "four" is not a valid number');
});
