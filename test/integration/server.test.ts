import { mkdtemp, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { SimReport } from '#src/cli/sim/sim-report.ts';
import { projectRoot } from '#src/config/places.ts';
import { parseMac } from '#src/domain/mac.ts';
import { type Child, startChild } from '#src/process/supervise.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { capture } from '../support/captures.ts';
import { cardless, inLab, publishTestImage, ran, serverLog, startLab, subnet, until } from '../support/lab-server.ts';

const serial = 'b66c4c16';
const mac = parseMac('b8:27:eb:6c:4c:16');

/** The simulated board, in a name space plugged into the lab. */
async function simulate(lab: Awaited<ReturnType<typeof startLab>>, out: string): ReturnType<typeof ran> {
  const namespace = await lab.lab.addBoard(mac);
  try {
    return await ran(
      ...insideNamespace(namespace, process.execPath, [
        'src/main.ts',
        '--json',
        'sim',
        '--interface',
        'eth0',
        '--serial',
        serial,
        '--out',
        out,
      ]),
    );
  } finally {
    await lab.lab.removeBoard(namespace);
  }
}

describe('a simulated Raspberry Pi 3B+ and the real server', () => {
  test('an unknown board is listed and gets nothing; once registered it boots with exactly the served bytes', async () => {
    await using lab = await startLab('pi');
    const digest = await publishTestImage(lab.state);
    const out = join(lab.state, 'fetched');
    const refused = await simulate(lab, out);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('no DHCP server made a usable offer');
    const unclaimed = await cardless(['--state', lab.state, 'node', 'list', '--unclaimed', '--json']);
    expect(JSON.parse(unclaimed.stdout)).toMatchObject([{ serial, mac, model: 'Raspberry Pi', interfaceName: 'br0' }]);

    expect((await cardless(['--state', lab.state, 'node', 'add', 'red5', '--serial', serial, '--ip', '10.78.0.20'])).code).toBe(0);
    const booted = await simulate(lab, out);
    expect(JSON.parse(booted.stdout)).toMatchObject({
      ok: true,
      boards: [{ serial, mac, address: '10.78.0.20', server: '10.78.0.1', violations: [] }],
    });
    const served = (name: string): Promise<Buffer> => readFile(join(lab.state, 'images', digest, 'boot', name));
    expect((await readFile(join(out, 'kernel'))).equals(await served('kernel8.img'))).toBe(true);
    expect((await readFile(join(out, 'initramfs'))).equals(await served('initramfs.img'))).toBe(true);
    expect((await readFile(join(out, 'board.dtb'))).equals(await served('bcm2710-rpi-3-b-plus.dtb'))).toBe(true);
    const node = await lab.server.node('red5');
    expect(node).toMatchObject({ macs: [mac], state: 'kernel', address: '10.78.0.20' });
    expect(node.boot?.events.map((event) => event.what)).toContain('file sent');
    expect(JSON.parse((await cardless(['--state', lab.state, 'node', 'list', '--unclaimed', '--json'])).stdout)).toEqual([]);
  });
});

describe('what a stranger gets', () => {
  test("another machine cannot read a node's files, nor a plan, nor a disk", async () => {
    await using lab = await startLab('stranger');
    await publishTestImage(lab.state);
    await cardless(['--state', lab.state, 'node', 'add', 'red5', '--serial', serial]);
    expect((await simulate(lab, join(lab.state, 'fetched'))).code).toBe(0);

    const stranger = await lab.lab.addBoard(parseMac('52:54:00:66:66:66'));
    const inside = (file: string, ...args: string[]): ReturnType<typeof ran> => ran(...insideNamespace(stranger, file, args));
    await inside('ip', 'address', 'add', '10.78.0.66/24', 'dev', 'eth0');
    const token = /cardless\.token=(\S+)/.exec(await readFile(join(lab.state, 'fetched/cmdline'), 'utf8'))?.[1] ?? '';
    expect(token.length).toBeGreaterThan(20);

    // tftp-hpa, a client that nobody here wrote.
    for (const name of [
      `${serial}/cmdline.txt`,
      `${serial}/config.txt`,
      'bootcode.bin',
      '../state.db',
      '/etc/passwd',
      `${serial}/../../state.db`,
    ]) {
      await inside('tftp', '-m', 'binary', '10.78.0.1', '-c', 'get', name, join(lab.state, 'stolen'));
      expect(await readFile(join(lab.state, 'stolen'), 'utf8').catch(() => '')).toBe('');
    }
    expect(await serverLog(lab.server)).toContain('red5 is another machine');
    const curl = (path: string, ...args: string[]): ReturnType<typeof ran> =>
      inside('curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', '--path-as-is', ...args, `http://10.78.0.1:8067${path}`);
    expect((await curl('/v1/plan')).stdout).toBe('403');
    expect((await curl('/api/v1/nodes')).stdout).toBe('404');
    expect((await curl('/boot/x/../../../etc/passwd')).stdout).toBe('404');
    // The node asks for its plan first; from then on its token is bound to its address.
    const nodeNamespace = await lab.lab.addBoard(mac);
    await ran(...insideNamespace(nodeNamespace, 'ip', ['address', 'add', '10.78.0.20/24', 'dev', 'eth0']));
    const asNode = await ran(
      ...insideNamespace(nodeNamespace, 'curl', ['-s', '-H', `Authorization: Bearer ${token}`, 'http://10.78.0.1:8067/v1/plan']),
    );
    expect(asNode.stdout).toContain("PLAN_NODE='red5'");
    // Now its own system may run, whose users must not get a token for the asking.
    expect((await ran(...insideNamespace(nodeNamespace, 'curl', ['-s', `tftp://10.78.0.1/${serial}/cmdline.txt`]))).stdout).toBe('');
    expect((await curl(`/ipxe/boot?mac=${mac}&uuid=`)).stdout).toBe('403');
    const ipxe = await ran(...insideNamespace(nodeNamespace, 'curl', ['-s', `http://10.78.0.1:8067/ipxe/boot?mac=${mac}&uuid=`]));
    expect(ipxe.stdout).toContain('no boot under way');
    const forged = `import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.sendto(bytes.fromhex('${capture('pi3-bootcode-discover').toString('hex')}'),('10.78.0.1',67))`;
    await ran(...insideNamespace(nodeNamespace, 'python3', ['-c', forged]));
    expect((await ran(...insideNamespace(nodeNamespace, 'curl', ['-s', `tftp://10.78.0.1/${serial}/cmdline.txt`]))).stdout).toBe('');
    expect((await curl('/v1/plan', '-H', `Authorization: Bearer ${token}`)).stdout).toBe('403');
    expect((await curl('/v1/seed', '-H', `Authorization: Bearer ${token}`)).stdout).toBe('403');
    expect(await readdir(join(lab.state, 'exports/root'))).toEqual(['10.78.0.20']);
    expect(await readlink(join(lab.state, 'exports/overlay/10.78.0.20'))).toContain('/overlays/red5/');
  });
});

describe('real tools', () => {
  test('tftp-hpa and curl read the same bytes as the board, from its address', async () => {
    await using lab = await startLab('tools');
    const digest = await publishTestImage(lab.state);
    await cardless(['--state', lab.state, 'node', 'add', 'red5', '--serial', serial, '--ip', '10.78.0.20', '--mac', mac]);
    const namespace = await lab.lab.addBoard(mac);
    const inside = (file: string, ...args: string[]): ReturnType<typeof ran> => ran(...insideNamespace(namespace, file, args));
    // udhcpc gets the address of its MAC; as a lease client, for it is a node of ours.
    const leased = await inside('udhcpc', '-i', 'eth0', '-n', '-q', '-f', '-s', '/bin/true', '-t', '3', '-T', '1');
    expect(leased.stderr + leased.stdout).toContain('lease of 10.78.0.20 obtained');
    await inside('ip', 'address', 'add', '10.78.0.20/24', 'dev', 'eth0');
    const target = join(lab.state, 'got');
    await inside('tftp', '-m', 'binary', '10.78.0.1', '-c', 'get', `${serial}/kernel8.img`, target);
    expect((await readFile(target)).equals(await readFile(join(lab.state, 'images', digest, 'boot/kernel8.img')))).toBe(true);
    const curl = await inside('curl', '-s', '--tftp-blksize', '1024', '-o', target, `tftp://10.78.0.1/${serial}/start.elf`);
    expect(curl.code).toBe(0);
    expect((await readFile(target)).equals(await readFile(join(lab.state, 'images', digest, 'boot/start.elf')))).toBe(true);
  });
  test('udhcpc on a machine that is no node hears nothing', async () => {
    await using lab = await startLab('phone');
    const namespace = await lab.lab.addBoard(parseMac('52:54:00:77:77:77'));
    const leased = await ran(
      ...insideNamespace(namespace, 'udhcpc', ['-i', 'eth0', '-n', '-q', '-f', '-s', '/bin/true', '-t', '2', '-T', '1']),
    );
    expect(leased.code).not.toBe(0);
    expect(JSON.parse((await cardless(['--state', lab.state, 'node', 'list', '--unclaimed', '--json'])).stdout)).toEqual([]);
  });
});

test('a board with a fixed address, which never asks by DHCP, boots as well; from then on its files are its own', async () => {
  await using lab = await startLab('fixed');
  await publishTestImage(lab.state);
  await cardless(['--state', lab.state, 'node', 'add', 'red5', '--serial', serial]);
  const get = async (namespace: string): Promise<string> => {
    const fetched = await ran(...insideNamespace(namespace, 'curl', ['-s', `tftp://10.78.0.1/${serial}/cmdline.txt`]));
    return fetched.stdout;
  };
  const board = await lab.lab.addBoard(mac);
  await ran(...insideNamespace(board, 'ip', ['address', 'add', '10.78.0.40/24', 'dev', 'eth0']));
  expect(await get(board)).toContain('cardless.token=');
  // The client has its last block a moment before the server has the acknowledgement.
  await until(async () => (await lab.server.node('red5')).state === 'kernel', 'the file in the timeline');
  expect(await lab.server.node('red5')).toMatchObject({ macs: [mac], state: 'kernel' });
  const stranger = await lab.lab.addBoard(parseMac('52:54:00:66:66:66'));
  await ran(...insideNamespace(stranger, 'ip', ['address', 'add', '10.78.0.66/24', 'dev', 'eth0']));
  expect(await get(stranger)).toBe('');
});

test('where fixed addresses are switched off, nobody opens a boot by asking for a file', async () => {
  const settings = join(await mkdtemp(join(tmpdir(), 'cardless-fixed-')), 'cardless.yaml');
  await writeFile(settings, 'fixedAddresses: false\n');
  await using lab = await startLab('notfixed', ['--mode', 'full', '--subnet', subnet, '--config', settings]);
  await publishTestImage(lab.state);
  await cardless(['--state', lab.state, 'node', 'add', 'red5', '--serial', serial, '--mac', mac]);
  const board = await lab.lab.addBoard(mac);
  await ran(...insideNamespace(board, 'ip', ['address', 'add', '10.78.0.40/24', 'dev', 'eth0']));
  const fetched = await ran(...insideNamespace(board, 'curl', ['-s', `tftp://10.78.0.1/${serial}/cmdline.txt`]));
  expect(fetched).toMatchObject({ code: 68, stdout: '' });
  expect((await lab.server.node('red5')).boot).toBeUndefined();
});

test('addresses that are in use, or no host can have, are refused', async () => {
  await using lab = await startLab('addresses');
  await publishTestImage(lab.state);
  const add = (name: string, ip: string): ReturnType<typeof cardless> =>
    cardless(['--state', lab.state, 'node', 'add', name, '--mac', `b8:27:eb:00:00:${name.slice(-2)}`, '--ip', ip]);
  for (const address of ['10.78.0.1', '10.78.0.0', '10.78.0.255', '10.79.0.5']) {
    const refused = await add('red01', address);
    expect(refused.stderr).toMatch(new RegExp(`the address ${address} `, 'i'));
    expect(refused.code).toBe(2);
  }
  expect((await cardless(['--state', lab.state, 'node', 'add', 'red5', '--serial', serial])).code).toBe(0);
  expect((await simulate(lab, join(lab.state, 'fetched'))).code).toBe(0);
  const { address = '' } = await lab.server.node('red5');
  const taken = await add('red02', address);
  expect(taken.stderr).toMatch(new RegExp(`the address ${address} was given to red5`, 'i'));
  expect(taken.code).toBe(2);
});

test('two interfaces are served at once, each from its own address', async () => {
  await using lab = await startLab('two');
  await lab.server[Symbol.asyncDispose]();
  await inLab(lab.lab, 'ip', 'link', 'add', 'br1', 'type', 'bridge');
  await inLab(lab.lab, 'ip', 'address', 'add', '10.79.0.1/24', 'dev', 'br1');
  await inLab(lab.lab, 'ip', 'link', 'set', 'br1', 'up');
  const other = await mkdtemp(join(tmpdir(), 'cardless-test-'));
  await writeFile(join(other, 'cardless.yaml'), 'interfaces:\n  - name: br0\n  - name: br1\n    mode: full\n');
  const said: string[] = [];
  const server = startChild(...lab.lab.inside(process.execPath, ['src/main.ts', '--state', other, 'up']), {
    graceMs: 15_000,
    onLine: (line) => said.push(line),
  });
  await until(() => Promise.resolve(said.join('\n').includes('"msg":"ready"')), 'the server');
  expect(said.join('\n')).toContain('"interfaces":["br0 proxy 10.78.0.1","br1 full 10.79.0.1"]');
  expect(await server.stop()).toEqual({ kind: 'exited', exitCode: 0 });
});

describe('crashes and conflicts', () => {
  test('kill -9: the next server opens the same state, and nodes, leases and the running boot are there', async () => {
    await using lab = await startLab('crash');
    await publishTestImage(lab.state);
    await cardless(['--state', lab.state, 'node', 'add', 'red[5-7]', '--serial', `${serial},00000006,00000007`]);
    expect((await simulate(lab, join(lab.state, 'fetched'))).code).toBe(0);
    const before = await lab.server.node('red5');
    await lab.server.crash();
    await lab.server.start();
    const after = await lab.server.node('red5');
    expect(after.address).toBe(before.address);
    expect(after.macs).toEqual([mac]);
    expect(after.boot?.id).toBe(before.boot?.id);
    expect(JSON.parse((await cardless(['--state', lab.state, 'node', 'list', '--json'])).stdout)).toHaveLength(3);
    expect((await simulate(lab, join(lab.state, 'again'))).code).toBe(0);
  });
  test('nbd-server is started again when it dies, and when the server before was killed', async () => {
    await using lab = await startLab('nbd');
    const pidFile = join(lab.state, 'run/br0/nbd-server.pid');
    const first = Number(await readFile(pidFile, 'utf8'));
    process.kill(first, 'SIGKILL');
    const pid = async (): Promise<number> => Number(await readFile(pidFile, 'utf8').catch(() => '0'));
    await until(async () => ![0, first].includes(await pid()), 'a new nbd-server');
    await until(async () => (await serverLog(lab.server)).split('nbd-server serves').length === 3, 'its handshake');
    const second = await pid();
    await lab.server.crash();
    await lab.server.start();
    expect(await pid()).not.toBe(second);
    expect((await serverLog(lab.server)).split('nbd-server serves')).toHaveLength(4);
  });
  test('a second server on the same state is refused, with the pid of the first', async () => {
    await using lab = await startLab('second');
    const second = await cardless(['--state', lab.state, 'up', '--no-network']);
    expect(second.code).toBe(1);
    expect(second.stderr).toContain(`Another Cardless server (pid ${lab.server.pid}) uses the state folder`);
  });
  test('a second server waits for one that a command has started for itself', async () => {
    await using stack = new AsyncDisposableStack();
    const state = await mkdtemp(join(tmpdir(), 'cardless-test-'));
    const start = (...flags: string[]): { child: Child; said: string[] } => {
      const said: string[] = [];
      const args = [join(projectRoot, 'src/main.ts'), '--state', state, 'up', '--no-network', ...flags];
      const child = startChild(process.execPath, args, { graceMs: 10_000, onLine: (line) => said.push(line) });
      stack.defer(async () => void (await child.stop()));
      return { child, said };
    };
    const first = start('--for-client');
    const isReady = async ({ said }: typeof first): Promise<boolean> => said.some((line) => /\bready\b/.test(line));
    await until(() => isReady(first), 'the first server');
    const second = start();
    expect(await Promise.race([second.child.ended, sleep(2000, 'waits')]), second.said.join('\n')).toBe('waits');
    await first.child.stop();
    await until(() => isReady(second), 'the second server');
  });
  test.each([
    ['UDP port 67', 67, ['-u', '-l']],
    ['UDP port 69', 69, ['-u', '-l']],
    ['TCP port 10809', 10_809, ['-l']],
  ])('%s taken: the program that has it is named', async (what, port, flags) => {
    await using lab = await startLab('taken');
    const other = await mkdtemp(join(tmpdir(), 'cardless-test-'));
    await lab.server[Symbol.asyncDispose]();
    const script = `import socket,time\ns=socket.socket(socket.AF_INET, socket.SOCK_${flags.includes('-u') ? 'DGRAM' : 'STREAM'})\ns.bind(('10.78.0.1',${port}))\n${flags.includes('-u') ? '' : 's.listen()\n'}print('held',flush=True)\ntime.sleep(30)`;
    const holder = inLab(lab.lab, 'python3', '-c', script);
    await until(async () => (await inLab(lab.lab, 'ss', '-Hlnut', `sport = :${port}`)).stdout !== '', 'the port to be held');
    const [file, args] = lab.lab.inside(process.execPath, [
      'src/main.ts',
      '--state',
      other,
      'up',
      '--interface',
      'br0',
      '--mode',
      'full',
      '--subnet',
      '10.78.0.0/24',
    ]);
    const refused = await ran(file, args);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(new RegExp(`${what} is taken by python3 \\(pid \\d+\\)`));
    await inLab(lab.lab, 'pkill', '-f', 'time.sleep');
    await holder;
  });
  test('without privilege it says which ones are missing', async () => {
    await using lab = await startLab('plain');
    const other = await mkdtemp(join(tmpdir(), 'cardless-test-'));
    await ran('chown', ['65534:65534', other]);
    await lab.server[Symbol.asyncDispose]();
    const up = [
      process.execPath,
      'src/main.ts',
      '--state',
      other,
      'up',
      '--interface',
      'br0',
      '--mode',
      'full',
      '--subnet',
      '10.78.0.0/24',
    ];
    // Below 1024 by default; a machine may have lowered that.
    await inLab(lab.lab, 'sysctl', '-qw', 'net.ipv4.ip_unprivileged_port_start=1024');
    const refused = await inLab(lab.lab, 'setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', ...up);
    expect(refused.stderr).toContain('CAP_NET_BIND_SERVICE');
    expect(refused.stderr).toContain('sudo');
    expect(refused.code).toBe(1);
  });
  test('random and oversized packets are counted and harm nobody', async () => {
    await using lab = await startLab('fuzz');
    await publishTestImage(lab.state);
    await cardless(['--state', lab.state, 'node', 'add', 'red5', '--serial', serial]);
    const script = `import socket,random\nrandom.seed(7)\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.bind(('10.78.0.66',68))\nfor i in range(4000):\n  n=random.choice([0,1,2,3,20,240,243,300,1400,8000])\n  s.sendto(bytes(random.getrandbits(8) for _ in range(n)),('10.78.0.1',random.choice([67,69])))\n`;
    const namespace = await lab.lab.addBoard(parseMac('52:54:00:66:66:66'));
    await ran(...insideNamespace(namespace, 'ip', ['address', 'add', '10.78.0.66/24', 'dev', 'eth0']));
    expect((await ran(...insideNamespace(namespace, 'python3', ['-c', script]))).code).toBe(0);
    const { badPackets } = z
      .object({ badPackets: z.object({ badDhcp: z.number(), badTftp: z.number() }) })
      .parse(await lab.server.client.call('GET', '/status'));
    expect(badPackets.badDhcp).toBeGreaterThan(100);
    expect(badPackets.badTftp).toBeGreaterThan(100);
    expect((await simulate(lab, join(lab.state, 'fetched'))).code).toBe(0);
  });
});

test('systemd is told once the server answers', async () => {
  const state = await mkdtemp(join(tmpdir(), 'cardless-test-'));
  const socket = join(state, 'notify');
  const script = `import socket\ns=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\ns.bind('${socket}')\ns.settimeout(20)\nprint(s.recv(100).decode())`;
  const systemd = ran('python3', ['-c', script]);
  await until(async () => (await readdir(state)).includes('notify'), 'the socket');
  const server = startChild(process.execPath, ['src/main.ts', '--state', state, 'up', '--no-network'], {
    graceMs: 10_000,
    env: { NOTIFY_SOCKET: socket },
  });
  expect((await systemd).stdout).toBe('READY=1');
  expect(await server.stop()).toEqual({ kind: 'exited', exitCode: 0 });
});

describe('proxy mode beside a home router (dnsmasq)', () => {
  test('the router gives the address, we add the boot information, and phones are left alone', async () => {
    await using lab = await startLab('proxy', ['--mode', 'proxy']);
    await publishTestImage(lab.state);
    await cardless(['--state', lab.state, 'node', 'add', 'red5', '--serial', serial]);
    const router = await lab.lab.addBoard(parseMac('52:54:00:00:00:fe'));
    await ran(...insideNamespace(router, 'ip', ['address', 'add', '10.78.0.254/24', 'dev', 'eth0']));
    const leases = join(lab.state, 'router.leases');
    const dnsmasq = ran(
      ...insideNamespace(router, 'dnsmasq', [
        '--keep-in-foreground',
        '--conf-file=/dev/null',
        '--port=0',
        '--interface=eth0',
        '--bind-interfaces',
        '--dhcp-range=10.78.0.100,10.78.0.150,1h',
        `--dhcp-leasefile=${leases}`,
        '--user=root',
        `--pid-file=${join(lab.state, 'router.pid')}`,
      ]),
    );
    await until(async () => (await readFile(join(lab.state, 'router.pid'), 'utf8').catch(() => '')) !== '', 'dnsmasq');
    const booted = await simulate(lab, join(lab.state, 'fetched'));
    const [result] = SimReport.parse(JSON.parse(booted.stdout)).boards;
    expect(result?.address).toMatch(/^10\.78\.0\.1[0-4]\d$|^10\.78\.0\.150$/);
    expect(result?.server).toBe('10.78.0.1');
    expect(result?.violations).toEqual([]);
    const phone = await lab.lab.addBoard(parseMac('52:54:00:77:77:77'));
    const leased = await ran(
      ...insideNamespace(phone, 'udhcpc', ['-i', 'eth0', '-n', '-q', '-f', '-s', '/bin/true', '-t', '3', '-T', '2']),
    );
    expect(leased.stderr + leased.stdout).toMatch(/obtained from 10\.78\.0\.254/);
    process.kill(Number(await readFile(join(lab.state, 'router.pid'), 'utf8')), 'SIGTERM');
    await dnsmasq;
  });
});
