import { mkdir, mkdtemp, readFile, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseMac } from '#src/domain/mac.ts';
import { serviceFiles, unitName } from '#src/policy/render-service-files.ts';
import { startChild } from '#src/process/supervise.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { cardless, type Ran, ran, startLab, subnet, type TestLab, until } from '../support/lab-server.ts';

const flags = ['--mode', 'full', '--subnet', subnet, '--shared-directory'];

interface Board {
  /** The client is libnfs, which needs no NFS in this machine's kernel. */
  list(name: string): Promise<string>;
  write(name: string, text: string): Promise<boolean>;
  read(name: string): Promise<string>;
}

async function board(lab: TestLab, last: number): Promise<Board> {
  const namespace = await lab.lab.addBoard(parseMac(`52:54:00:00:06:${last}`));
  await ran('ip', ['-n', namespace, 'address', 'add', `10.78.0.${last}/24`, 'dev', 'eth0']);
  const url = (path: string): string => `nfs://10.78.0.1${lab.state}/srv/${path}?version=4`;
  const inside = (file: string, ...args: string[]): Promise<Ran> => ran(...insideNamespace(namespace, file, args));
  return {
    list: async (name) => (await inside('nfs-ls', url(name))).stdout,
    read: async (name) => (await inside('nfs-cat', url(name))).stdout,
    write: async (name, text) => {
      const file = join(await mkdtemp(join(tmpdir(), 'cardless-share-')), 'file');
      await writeFile(file, text);
      return (await inside('nfs-cp', file, url(name))).stdout.includes('copied');
    },
  };
}

const fleet = (groups: string): string => `
groups:
  ${groups}
nodes:
  red20: {mac: 52:54:00:00:06:20, ip: 10.78.0.20, group: writers}
  red21: {mac: 52:54:00:00:06:21, ip: 10.78.0.21, group: readers}
`;
const both = 'writers: {shared: [{name: shared, writable: true}, {name: jobs, writable: true}]}\n  readers: {}';

async function apply(lab: TestLab, groups: string): Promise<void> {
  const file = join(lab.state, 'cluster.yaml');
  await writeFile(file, fleet(groups));
  expect(await cardless(['--state', lab.state, 'apply', '-f', file, '--force'])).toMatchObject({ code: 0, stderr: '' });
}

async function ganeshaPid(lab: TestLab): Promise<number> {
  return Number(await readFile(join(lab.state, 'run/br0/ganesha.pid'), 'utf8'));
}

const isRunning = async (pid: number): Promise<boolean> =>
  (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).startsWith('ganesha');

describe('directories of the server, mounted by nodes', () => {
  test('what one writes another reads; only nodes may, and only those that were said to may write', async () => {
    await using lab = await startLab('shared', flags);
    await apply(lab, both);
    const [writer, reader, stranger] = [await board(lab, 20), await board(lab, 21), await board(lab, 22)];
    await until(async () => (await stat(join(lab.state, 'srv/jobs')).catch(() => undefined)) !== undefined, 'the directory');
    await until(async () => await writer.write('shared/note', 'from red20'), 'the export', 30_000);
    expect(await reader.read('shared/note')).toBe('from red20');
    // root of a node is nobody here.
    expect((await stat(join(lab.state, 'srv/shared/note'))).uid).toBe(65_534);
    expect(await reader.write('shared/other', 'x')).toBe(false);
    expect(await reader.list('jobs')).toBe('');
    expect(await writer.write('jobs/one', 'job\n')).toBe(true);
    expect(await stranger.read('shared/note')).toBe('');
    expect(await stranger.write('shared/evil', 'x')).toBe(false);
    const listed = await cardless(['--state', lab.state, 'service', 'list']);
    expect(listed.stdout).toMatch(/^shared\s+br0 .*NFS-Ganesha runs on TCP port 2049 of 10\.78\.0\.1$/m);
    expect(listed.stdout).toContain(`${lab.state}/srv/shared for 2 nodes, 1 of which may write`);

    // The group may write now; a node that goes loses all.
    await apply(lab, 'writers: {shared: [{name: shared}]}\n  readers: {shared: [{name: shared, writable: true}]}');
    await until(async () => await reader.write('shared/other', 'now I may'), 'the right to write', 30_000);
    expect(await writer.read('shared/other')).toBe('now I may');
    expect(await writer.write('shared/late', 'x')).toBe(false);
    expect((await cardless(['--state', lab.state, 'node', 'rm', 'red20'])).code).toBe(0);
    await until(async () => (await writer.read('shared/other')) === '', 'the export to be taken back', 30_000);
    expect(await reader.read('shared/other')).toBe('now I may');
  });

  test('it ends with the server, also when that is killed, and is there again with the next one', async () => {
    await using lab = await startLab('sharedend', flags);
    await apply(lab, both);
    const writer = await board(lab, 20);
    await until(async () => await writer.write('shared/note', 'before'), 'the export', 30_000);
    const pid = await ganeshaPid(lab);
    expect(await isRunning(pid)).toBe(true);
    await lab.server.crash();
    await until(async () => !(await isRunning(pid)), 'the end of NFS-Ganesha');
    await lab.server.start();
    await until(async () => (await writer.read('shared/note')) === 'before', 'the file', 30_000);
    const next = await ganeshaPid(lab);
    process.kill(next, 'SIGKILL');
    await until(async () => (await ganeshaPid(lab)) !== next && (await writer.read('shared/note')) === 'before', 'a new one', 30_000);
    const last = await ganeshaPid(lab);
    await lab.server.stop();
    expect(await isRunning(last)).toBe(false);
  });

  test('/home: a directory for each user who has a number, and for nobody else to take', async () => {
    await using lab = await startLab('sharedhome', flags);
    await apply(
      lab,
      'writers: {shared: [{name: home, at: /home, writable: true}], users: [{name: ada, uid: 1815}, {name: charles}]}\n  readers: {}',
    );
    const home = join(lab.state, 'srv/home');
    await until(async () => (await stat(join(home, 'ada')).catch(() => undefined))?.uid === 1815, 'the home');
    expect((await stat(home)).mode & 0o7777).toBe(0o755);
    expect((await stat(join(home, 'ada'))).mode & 0o7777).toBe(0o700);
    await expect(stat(join(home, 'charles'))).rejects.toThrow('ENOENT');
  });

  test('a port that somebody has is named', async () => {
    await using lab = await startLab('sharedport', ['--mode', 'full', '--subnet', subnet]);
    await lab.server.stop();
    const said: string[] = [];
    const hold = 'import socket, time\ns = socket.create_server(("10.78.0.1", 2049))\nprint("held", flush=True)\ntime.sleep(600)';
    await using _ = startChild(...lab.lab.inside('python3', ['-c', hold]), { graceMs: 1000, onLine: (line) => said.push(line) });
    await until(async () => Promise.resolve(said.includes('held')), 'the port to be taken');
    const refused = await ran(
      ...lab.lab.inside(process.execPath, ['src/main.ts', '--state', lab.state, 'up', '--interface', 'br0', ...flags]),
    );
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/TCP port 2049 is taken by python3 \(pid \d+\)/) });
  });
});

test('systemd takes the units that nodes are given, and escapes their names as we do', async () => {
  const root = await mkdtemp(join(tmpdir(), 'cardless-units-'));
  const directories = [{ name: 'shared', writable: true }, { name: 'my-jobs' }, { name: 'home', at: '/home' }];
  const files = serviceFiles({ shared: { server: parseIpv4('10.78.0.1'), base: '/srv/cardless', directories } });
  for (const { path, text } of files.filter((file) => file.text !== undefined)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text ?? '');
  }
  for (const at of ['/mnt/shared', '/mnt/my-jobs', '/home', '/.x/y z']) {
    expect((await ran('systemd-escape', ['--path', at])).stdout).toBe(unitName(at));
  }
  const units = files.filter((file) => file.text !== undefined).map(({ path }) => join(root, path));
  expect(units).toHaveLength(6);
  const verified = await ran('systemd-analyze', ['verify', '--man=no', ...units]);
  expect(verified.stderr.split('\n').filter((line) => line.includes(root) || /mnt-|home\./.test(line))).toEqual([]);
});
