import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { SshCa } from '#src/daemon/ssh-ca.ts';
import { parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { startChild } from '#src/process/supervise.ts';
import { insideNamespace, Lab } from '#src/sim/lab.ts';
import { cardless, until } from '../support/lab-server.ts';
import { plugIn, startSshNode } from '../support/sshd.ts';

/** red1 to red3 are nodes; red4 takes connections and says nothing; red5 has the key of somebody else; nobody is at red6. */
const stack = new AsyncDisposableStack();
let lab: Lab;
let folder = '';
let state = '';
const ownFiles = ['/root/.ssh/known_hosts', '/root/.ssh/config', '/root/.ssh/id_ed25519'];
let before: (number | undefined)[] = [];

const timesOf = async (): Promise<(number | undefined)[]> =>
  Promise.all(ownFiles.map(async (path) => (existsSync(path) ? (await stat(path)).mtimeMs : undefined)));

beforeAll(async () => {
  before = await timesOf();
  folder = await mkdtemp(join(tmpdir(), 'cardless-ssh-test-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  state = join(folder, 'state');
  lab = stack.use(await Lab.create({ name: 'ssh', address: parseIpv4('10.79.0.100'), subnet: parseSubnet('10.79.0.0/24') }));
  const main = ['--state', state, 'up', '--no-network'];
  stack.use(startChild(process.execPath, [join(projectRoot, 'src/main.ts'), ...main], { graceMs: 30_000 }));
  await until(() => Promise.resolve(existsSync(join(state, 'run/admin.sock'))), 'the server');
  const added = await cardless(['--state', state, 'node', 'add', 'red[1-6]', '--ip', '10.79.0.[1-6]', '--label', 'rack=a']);
  expect(added.stderr).toBe('');
  const ca = new SshCa(join(state, 'keys/_ca'));
  const stranger = new SshCa(join(folder, 'stranger'));
  for (const number of [1, 2, 3, 5]) {
    const hostCa = number === 5 ? stranger : ca;
    await startSshNode({ lab, folder, name: `red${number}`, address: `10.79.0.${number}`, hostCa, userCa: ca }, stack);
  }
  const silent = await plugIn(lab, '10.79.0.4');
  const listen = "require('net').createServer(() => {}).listen(22)";
  stack.use(startChild(...insideNamespace(silent, process.execPath, ['-e', listen]), { graceMs: 1000 }));
}, 120_000);

afterAll(() => stack.disposeAsync());

interface Done {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** As somebody types it on the server. */
async function run(...args: string[]): Promise<Done> {
  const [file, all] = lab.inside(process.execPath, [join(projectRoot, 'src/main.ts'), '--state', state, ...args]);
  const result = await execa(file, all, { reject: false, stdin: 'ignore', encoding: 'buffer', stripFinalNewline: false, cwd: folder });
  return { code: result.exitCode ?? -1, stdout: Buffer.from(result.stdout), stderr: Buffer.from(result.stderr).toString() };
}

const sorted = (bytes: Buffer): string[] =>
  bytes
    .toString()
    .split('\n')
    .toSorted()
    .filter((line) => line !== '');
/** All nodes share our files: where a connection arrived tells which one it is. */
const whoAmI = 'set -- $SSH_CONNECTION; me=${3##*.}; ';

test('lines stand under their nodes, the last one too when it has no end; the exit code is that of the worst', async () => {
  const done = await run('exec', 'red[1-3]', '--', `${whoAmI}printf 'first\\nlast %s' $me; echo trouble >&2; exit $((me * 2))`);
  expect(sorted(done.stdout)).toEqual(['red1: first', 'red1: last 1', 'red2: first', 'red2: last 2', 'red3: first', 'red3: last 3']);
  expect(
    done.stderr
      .split('\n')
      .toSorted()
      .filter((line) => line !== ''),
  ).toEqual([
    'cardless: red1: exit code 2',
    'cardless: red2: exit code 4',
    'cardless: red3: exit code 6',
    'red1: trouble',
    'red2: trouble',
    'red3: trouble',
  ]);
  expect(done.code).toBe(6);
});

test('several words are a program and its arguments, exactly', async () => {
  const done = await run('exec', 'red1', '--', 'printf', '%s|', "it's", 'a  b', '*', '$HOME', '');
  expect([done.stdout.toString(), done.code]).toEqual(["red1: it's|a  b|*|$HOME||\n", 0]);
});

test('equal outputs stand once, under ranges of nodes', async () => {
  const done = await run('exec', '@all,-red[4-6]', '--collate', '--', `${whoAmI}[ $me = 2 ] && printf odd || echo even`);
  expect(done.stdout.toString()).toBe('------------\nred[1,3] (2)\n------------\neven\n--------\nred2 (1)\n--------\nodd\n');
});

test('a wrong key, a silent node and an absent one are told apart from nodes that work, which are not held up', async () => {
  const done = await run('exec', 'red[1,4-6]', '--', 'echo here');
  expect(sorted(done.stdout)).toEqual(['red1: here']);
  expect(done.stderr).toContain('red5: Host key verification failed.');
  expect(done.stderr).toContain('red4: Connection timed out during banner exchange');
  expect(done.stderr).toMatch(/red6: ssh: connect to host 10\.79\.0\.6 port 22: /);
  expect(done.stderr).toContain('cardless: red[4-6]: exit code 255 (ssh)');
  expect(done.code).toBe(255);
});

test('bytes that are no text arrive as they are, and so do lines without an end in sight', async () => {
  const bytes = join(folder, 'bytes');
  await execa('dd', ['if=/dev/urandom', `of=${bytes}`, 'bs=1000', 'count=300']);
  const done = await run('--json', 'exec', 'red[1-2]', '--', 'cat', bytes);
  const results = JSON.parse(done.stdout.toString());
  const wanted = (await readFile(bytes)).toString('base64');
  expect(
    results.map(({ name, outcome, exitCode, stdoutBase64 }: Record<string, unknown>) => [name, outcome, exitCode, stdoutBase64 === wanted]),
  ).toEqual([
    ['red1', 'exited', 0, true],
    ['red2', 'exited', 0, true],
  ]);
  const long = await run('exec', 'red1', '--', "head -c 3000000 /dev/zero | tr '\\0' x");
  const lines = long.stdout.toString().trimEnd().split('\n');
  expect(lines.every((line) => line.startsWith('red1: '))).toBe(true);
  expect(lines.map((line) => line.slice(6)).join('')).toBe('x'.repeat(3_000_000));
  const plain = await run('exec', 'red1', '--', 'cat', bytes);
  expect(Buffer.from(plain.stdout.toString('latin1').replaceAll(/^red1: /gm, ''), 'latin1').subarray(0, 300_000)).toEqual(
    await readFile(bytes),
  );
});

test('more nodes than jobs all get their turn', async () => {
  const done = await run('exec', 'red[1-3]', '--jobs', '1', '--', 'echo turn');
  expect(done.stdout.toString()).toBe('red1: turn\nred2: turn\nred3: turn\n');
});

test('an interrupt ends what runs on the nodes, and a timeout as well', async () => {
  const isAlive = async (mark: string): Promise<boolean> => (await execa('pgrep', ['-f', mark], { reject: false })).exitCode === 0;
  const [file, args] = lab.inside(process.execPath, [
    join(projectRoot, 'src/main.ts'),
    '--state',
    state,
    'exec',
    'red[1-2]',
    '--',
    'sleep 98761 & sleep 98761',
  ]);
  const child = execa(file, args, { reject: false, stdin: 'ignore' });
  await until(() => isAlive('^sleep 98761'), 'the command to run');
  child.kill('SIGINT');
  const result = await child;
  expect([result.exitCode, result.stderr]).toEqual([130, 'cardless: red[1-2]: cancelled']);
  await until(async () => !(await isAlive('^sleep 98761')), 'the command to be gone');
  const late = await run('exec', 'red1', '--timeout', '3s', '--', 'sleep 98762');
  expect([late.code, late.stderr]).toEqual([124, 'cardless: red1: timed out\n']);
  await until(async () => !(await isAlive('^sleep 98762')), 'the command to be gone');
});

test('ssh gives its own exit code, and is for one node', async () => {
  const done = await run('ssh', 'red2', '--', 'echo "$SSH_CONNECTION"; exit 7');
  expect([done.stdout.toString(), done.code]).toEqual([expect.stringContaining('10.79.0.2 22'), 7]);
  expect(await run('ssh', 'red[1-2]')).toMatchObject({ code: 2, stderr: expect.stringContaining('is 2 nodes') });
  expect(await run('ssh', 'red5', '--', 'true')).toMatchObject({
    code: 255,
    stderr: expect.stringContaining('Host key verification failed'),
  });
  expect(await run('ssh', 'red1', '--user', 'nobody-else', '--', 'true')).toMatchObject({ code: 255 });
});

test('files go to all nodes and come back, each into a folder of its node', async () => {
  await mkdir(join(folder, 'to'));
  await writeFile(join(folder, 'odd: name'), 'content\n');
  const sent = await run('copy', './odd: name', `red[1-2]:${join(folder, 'to/')}`);
  expect([sent.code, sent.stderr]).toEqual([0, '']);
  expect(await readFile(join(folder, 'to/odd: name'), 'utf8')).toBe('content\n');
  const fetched = await run('copy', `rack=a,-red[4-6]:${join(folder, 'to')}`, 'back');
  expect([fetched.code, fetched.stderr]).toEqual([0, '']);
  expect((await readdir(join(folder, 'back'))).toSorted()).toEqual(['red1', 'red2', 'red3']);
  expect(await readFile(join(folder, 'back/red3/to/odd: name'), 'utf8')).toBe('content\n');
  const one = await run('copy', `red1:${join(folder, 'to/odd: name')}`, 'single');
  expect([one.code, await readFile(join(folder, 'single'), 'utf8')]).toEqual([0, 'content\n']);
  const failed = await run('copy', 'red[1,5]:/nowhere', 'back');
  expect(failed.code).toBeGreaterThan(0);
  expect(failed.stderr).toContain('red1: ');
  expect(failed.stderr).toContain('Host key verification failed');
});

test('Ansible and ssh work with the exports alone: no question, and no key of the user', async () => {
  const key = join(folder, 'operator');
  await execa('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
  const ca = new SshCa(join(state, 'keys/_ca'));
  await writeFile(`${key}-cert.pub`, `${await ca.signUser((await readFile(`${key}.pub`, 'utf8')).trim(), ['root'], 3600)}\n`);
  for (const [format, file] of [
    ['ansible', 'inventory.yaml'],
    ['ssh-config', 'config'],
    ['known-hosts', 'known'],
  ] as const) {
    expect((await run('export', format, 'red[1-2,5]', '--output', file)).code).toBe(0);
  }
  const known = `-o UserKnownHostsFile=${join(folder, 'known')} -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o ControlMaster=no`;
  const [ssh, sshArgs] = lab.inside('ssh', [
    '-F',
    join(folder, 'config'),
    '-i',
    key,
    '-o',
    'BatchMode=yes',
    ...known.split(' '),
    'red2.cluster.internal',
    'echo $SSH_CONNECTION',
  ]);
  expect((await execa(ssh, sshArgs)).stdout).toContain('10.79.0.2 22');
  const args = ['-i', join(folder, 'inventory.yaml'), 'all', '-m', 'ping', '-o', '--private-key', key, `--ssh-extra-args=${known}`];
  const [ansible, all] = lab.inside('ansible', args);
  const env = {
    ANSIBLE_REMOTE_TEMP: join(folder, 'ansible'),
    ANSIBLE_LOCAL_TEMP: join(folder, 'ansible'),
    ANSIBLE_FORCE_COLOR: '0',
    ANSIBLE_PYTHON_INTERPRETER: 'python3',
  };
  const pinged = await execa(ansible, all, { reject: false, stdin: 'ignore', env });
  const lines = pinged.stdout.split('\n').filter((line) => line.includes(' | '));
  lines.sort();
  expect(
    lines.map((line) => line.split(' ').slice(0, 3).join(' ')),
    pinged.stderr,
  ).toEqual(['red1 | SUCCESS', 'red2 | SUCCESS', 'red5 | UNREACHABLE!:']);
  expect(pinged.stdout).toContain('Host key verification failed');
});

test('nothing of the user was read or written, and no key is left', async () => {
  expect(await timesOf()).toEqual(before);
  const left = await execa('find', [tmpdir(), '-maxdepth', '1', '-name', 'cardless-ssh-*', '-not', '-name', 'cardless-ssh-test-*']);
  expect(left.stdout).toBe('');
});
