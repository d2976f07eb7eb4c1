/** One file describes a cluster; an empty server and four bare machines become it. Looked at with the tools of its users. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { run } from '#src/process/run.ts';
import { cardless, until } from '../test/support/lab-server.ts';
import { type Board, type ClusterLab, clusterLab, type Ran, uplinkAddress, worldAddress } from './cluster/lab.ts';

const boards: readonly Board[] = [
  { name: 'pi1', kind: 'pi', serial: '10a10001', mac: 'b8:27:eb:a1:00:01' },
  { name: 'pi2', kind: 'arm', serial: '5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e02', mac: '52:54:00:12:34:02' },
  { name: 'pc1', kind: 'pc', serial: '5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e03', mac: '52:54:00:12:34:03' },
  { name: 'pc2', kind: 'pc', serial: '5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e04', mac: '52:54:00:12:34:04' },
];
const names = boards.map(({ name }) => name);
/** In the place of pc2, later. */
const spare: Board = { name: 'pc2', kind: 'pc', serial: '5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e05', mac: '52:54:00:12:34:05' };

const fleet = (operator: string): string => `
settings:
  authorizedKeys: [${operator}]
  users: [{name: ann, uid: 2000, shell: /bin/bash, authorizedKeys: [${operator}]}]
  shared:
    - {name: shared, writable: true}
    - {name: home, at: /home, writable: true}
  files:
    - {path: /etc/motd, content: "{{ node.name }} of {{ node.group }}, one of {{ nodes.size }}\\n", template: true, live: true}
  secrets:
    - {name: token, path: /etc/token, mode: "0400"}
groups:
  pis: {image: cluster-pi}
  pcs:
    image: cluster-pc
    everyBoot: [{name: mark, script: "#!/bin/sh\\necho $CARDLESS_NODE >/run/mark\\n"}]
nodes:
  pi[1-2]: {serial: [${boards[0]?.serial}, ${boards[1]?.serial}], ip: "10.78.0.[11-12]", group: pis}
  pc1:
    serial: ${boards[2]?.serial}
    ip: 10.78.0.21
    group: pcs
    cloudInit: {userData: {write_files: [{path: /etc/from-cloud-init, content: written}]}}
  pc2: {serial: ${boards[3]?.serial}, ip: 10.78.0.22, group: pcs}
dns:
  records:
    - {name: _hello._tcp.cluster.internal, type: SRV, target: pc1.cluster.internal, port: 80}
`;

const hundred = `
nodes:
  rack[001-100]: {group: pis, labels: {row: a}, files: [{path: /etc/rack, content: "{{ node.name }} of {{ nodes.size }}\\n", template: true}]}
`;

let cluster: ClusterLab;
let operator = '';
/** What ssh and those who use it are told: the exported files, and to ask nobody anything. */
let sshOptions: string[] = [];

async function newKey(name: string): Promise<string> {
  const path = join(cluster.desk, name);
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', path]);
  return (await readFile(`${path}.pub`, 'utf8')).trim();
}

async function apply(text: string): Promise<void> {
  await writeFile(join(cluster.desk, 'cluster.yaml'), text);
  await cluster.cardless('apply', '-f', 'cluster.yaml');
}

/** All processes of the agent (proc(5): Pss). */
const agentKib =
  'cd /sys/fs/cgroup/system.slice/cardless-agent.service && for pid in $(cat cgroup.procs); do cat /proc/$pid/smaps_rollup 2>/dev/null; done' +
  ` | awk '$1 == "Pss:" { kib += $2 } END { print kib }'`;

const ssh = (who: string, line: string, key = 'operator'): Promise<string> => cluster.must('ssh', ...sshOptions, '-i', key, who, line);
const sshAs = (key: string, who: string, line: string): Promise<Ran> => cluster.at('ssh', ...sshOptions, '-i', key, who, line);
const dig = async (...words: string[]): Promise<string[]> =>
  (await cluster.must('dig', '@10.78.0.1', '+short', ...words)).split('\n').toSorted();

beforeAll(async () => {
  for (const [name, arch] of [['cluster-pi', 'arm64'] as const, ['cluster-pc', 'amd64'] as const]) {
    // Not by the lab's server, which has no way to a mirror.
    const built = await cardless(['image', 'build', join(projectRoot, `e2e-qemu/cluster/${name}.yaml`), '--arch', arch]);
    expect(built.code, built.stderr).toBe(0);
  }
  cluster = await clusterLab();
  operator = await newKey('operator');
  await apply(fleet(operator));
  await Promise.all(boards.map((board) => cluster.powerOn(board)));
  for (const name of names) {
    await cluster.ready(name);
  }
  await cluster.cardless('export', 'ssh-config', '--output', 'ssh_config');
  await cluster.cardless('export', 'known-hosts', '--output', 'known_hosts');
  sshOptions = ['-F', 'ssh_config', '-o', 'BatchMode=yes', '-o', 'UserKnownHostsFile=known_hosts', '-o', 'ConnectTimeout=60'];
}, 40 * 60_000);

afterAll(() => cluster?.[Symbol.asyncDispose]());

describe('a cluster out of one file', () => {
  test.each(names)('%s is what the file says, by ssh without a question', async (name) => {
    const said = await ssh(name, 'hostname; cat /etc/motd; stat -c "%a %U" /etc/token; wc -c </etc/token; id -u ann');
    const group = name.startsWith('pi') ? 'pis' : 'pcs';
    expect(said.split('\n')).toEqual([name, `${name} of ${group}, one of 4`, '400 root', '64', '2000']);
  });

  test('hooks ran, and the secret is one for all', async () => {
    expect(await ssh('pc2', 'cat /run/mark')).toBe('pc2');
    const tokens = await Promise.all(['pi1', 'pc1'].map((name) => ssh(name, 'cat /etc/token')));
    expect(tokens[0]).toMatch(/^[0-9a-f]{64}$/);
    expect(tokens[1]).toBe(tokens[0]);
    expect(await cluster.cardless('plan', '--json')).not.toContain(tokens[0]);
  });

  test('cloud-init has applied the user-data', async () => {
    expect(await ssh('pc1', 'cloud-init status --wait >/dev/null; cat /etc/from-cloud-init')).toBe('written');
  });

  test('ansible reaches all of them through the inventory', async () => {
    await cluster.cardless('export', 'ansible', '--script', '--output', 'inventory');
    const options = ['--private-key', 'operator', `--ssh-extra-args=-o UserKnownHostsFile=${cluster.desk}/known_hosts`];
    const said = await cluster.must('ansible', '-i', './inventory', ...options, '--timeout', '120', '--one-line', 'all', '-m', 'ping');
    const ponged = said.split('\n').filter((line) => line.includes('"ping": "pong"'));
    expect(ponged.map((line) => line.split(' ')[0]).toSorted()).toEqual(names.toSorted());
    const pcs = await cluster.must('ansible', '-i', './inventory', 'pcs', '--list-hosts');
    expect(pcs.split(/\s+/)).toEqual(expect.arrayContaining(['(2):', 'pc1', 'pc2']));
  });

  test('nodeset knows the groups', async () => {
    await mkdir(join(cluster.desk, 'groups.d'));
    await cluster.cardless('export', 'clustershell', '--output', 'groups.d/cardless.yaml');
    await writeFile(join(cluster.desk, 'groups.conf'), `[Main]\ndefault: cardless\nautodir: ${cluster.desk}/groups.d\n`);
    expect(await cluster.must('nodeset', '--groupsconf', 'groups.conf', '-f', '@pis', 'pc9')).toBe('pc9,pi[1-2]');
  });

  test('names lead to addresses and back, for the server and on nodes', async () => {
    expect(await dig('pc2.cluster.internal')).toEqual(['10.78.0.22']);
    expect(await dig('-x', '10.78.0.11')).toEqual(['pi1.cluster.internal.']);
    expect(await dig('_hello._tcp.cluster.internal', 'SRV')).toEqual(['0 0 80 pc1.cluster.internal.']);
    const both = await ssh('pi1', 'getent -s dns hosts pc1.cluster.internal; getent -s dns hosts 10.78.0.12');
    expect(both.split('\n').map((line) => line.split(/\s+/))).toEqual([
      ['10.78.0.21', 'pc1.cluster.internal'],
      ['10.78.0.12', 'pi2.cluster.internal'],
    ]);
  });

  test('nodes have their time from the server', async () => {
    for (const name of names) {
      const synchronised = async (): Promise<boolean> =>
        (await sshAs('operator', name, 'test -e /run/systemd/timesync/synchronized')).code === 0;
      await until(synchronised, `the clock of ${name}`, 120_000);
    }
  });

  test('what one node writes into the shared directory another reads', async () => {
    await ssh('ann@pc1', 'echo "from pc1" >/mnt/shared/note');
    expect(await ssh('pi1', 'cat /mnt/shared/note')).toBe('from pc1');
    expect(await ssh('ann@pi2', 'cat /mnt/shared/note; pwd; touch /home/ann/seen')).toBe('from pc1\n/home/ann');
    expect(await ssh('ann@pc2', 'ls /home/ann')).toBe('seen');
  });

  test('nodes reach the world as the server', async () => {
    const ask = `exec 3<>/dev/tcp/${worldAddress}/8000; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; tail -n 1 <&3`;
    for (const name of ['pi1', 'pc2']) {
      expect(await ssh(name, `bash -c "${ask}"`)).toContain(uplinkAddress);
    }
  });

  test('an MPI job runs on two nodes', async () => {
    await ssh(
      'ann@pc1',
      'mkdir -p -m 700 .ssh && ssh-keygen -q -t ed25519 -N "" -f .ssh/id_ed25519 && cp .ssh/id_ed25519.pub .ssh/authorized_keys',
    );
    await cluster.cardless('export', 'mpi', '@pcs', '--output', 'hostfile');
    await cluster.cardless('copy', 'hostfile', 'pc1:/etc/hostfile');
    const said = await ssh('ann@pc1', 'mpirun --hostfile /etc/hostfile -n 2 /usr/local/bin/hello-mpi');
    expect(said.split('\n').toSorted()).toEqual(['hello from rank 0 of 2 on pc1', 'hello from rank 1 of 2 on pc2']);
  });

  test('cardless exec speaks to all at once', async () => {
    const said = await cluster.cardless('exec', '@all', '--', 'uname', '-m');
    expect(said.split('\n').toSorted()).toEqual(['pc1: x86_64', 'pc2: x86_64', 'pi1: aarch64', 'pi2: aarch64']);
  });

  test('nodes tell how they do', async () => {
    const nodes = JSON.parse(await cluster.cardless('vitals', '--json')) as {
      name: string;
      vitals?: { hostname: string; cpu: unknown[] };
    }[];
    const cores = { pc1: 1, pc2: 1, pi1: 4, pi2: 2 };
    expect(nodes.map(({ name, vitals }) => [name, vitals?.hostname, vitals?.cpu.length])).toEqual(
      Object.entries(cores).map(([name, count]) => [name, name, count]),
    );
  });

  test('the agent takes less than 5 MB of a node, pages that it shares counted in part', async () => {
    const sizes = await Promise.all(names.map(async (name) => [name, Number(await ssh(name, agentKib))] as const));
    process.stdout.write(`the agent takes ${sizes.map(([name, kib]) => `${kib} KiB of ${name}`).join(', ')}\n`);
    expect(sizes.filter(([, kib]) => !(kib > 0 && kib < 5000))).toEqual([]);
  });

  test('a key is rotated on running nodes', async () => {
    const before = await Promise.all(names.map((name) => ssh(name, 'cat /proc/sys/kernel/random/boot_id')));
    const next = await newKey('rotated');
    await apply(fleet(next));
    const has = async (name: string): Promise<boolean> =>
      (await cluster.cardless('exec', name, '--', 'cat', '/root/.ssh/authorized_keys')).includes('rotated');
    for (const name of names) {
      // Not by trying the key: an sshd of today makes those wait who were wrong before.
      await until(() => has(name), `the new key on ${name}`, 120_000);
      expect((await sshAs('operator', name, 'true')).stderr).toContain('Permission denied');
    }
    expect(await Promise.all(names.map((name) => ssh(name, 'cat /proc/sys/kernel/random/boot_id', 'rotated')))).toEqual(before);
  });

  test('another board takes the place of pc2', async () => {
    const identity = 'cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /root/kept; ip -4 -o address show scope global | cut -d" " -f7';
    await ssh('pc2', 'echo kept >/root/kept; sync', 'rotated');
    const before = await ssh('pc2', identity, 'rotated');
    await cluster.powerOff('pc2');
    await cluster.cardless('node', 'claim', spare.serial, '--as', 'pc2', '--replace');
    await cluster.powerOn(spare);
    const isBooting = async (): Promise<boolean> => (await cluster.lab.server.node('pc2')).boot?.outcome !== 'ready';
    await until(isBooting, 'the boot of the new board', 120_000);
    const node = await cluster.ready('pc2');
    expect(node).toMatchObject({ serial: spare.serial, macs: [spare.mac], address: '10.78.0.22' });
    expect(await ssh('pc2', identity, 'rotated')).toBe(before);
  });

  test('a hundred more nodes are planned', async () => {
    await writeFile(join(cluster.desk, 'hundred.yaml'), hundred);
    const started = performance.now();
    const said = await cluster.cardless('plan', '-f', 'hundred.yaml', '--json');
    process.stdout.write(`a hundred nodes were planned in ${((performance.now() - started) / 1000).toFixed(2)} s\n`);
    expect(JSON.stringify(JSON.parse(said))).toContain('rack100');
  });
});
