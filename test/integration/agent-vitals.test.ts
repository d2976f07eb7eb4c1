import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import express from 'express';
import { expect, test } from 'vitest';
import { findPlaces, projectRoot } from '#src/config/places.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseMac } from '#src/domain/mac.ts';
import type { Vitals } from '#src/domain/vitals.ts';
import { ensureNodePrograms } from '#src/images/node-programs.ts';
import { takePosted, tokenOf } from '#src/servers/http/node-key.ts';
import { createVitalsFace } from '#src/servers/http/vitals-face.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { cardless, publishTestImage, ran, startLab, subnet, until } from '../support/lab-server.ts';

const agentDirectory = join(projectRoot, 'rootfs/agent');

type Tree = Readonly<Record<string, string>>;

const cores = (busy: readonly number[], idle: readonly number[]): string =>
  [
    'cpu  0 0 0 0 0 0 0 0 0 0',
    ...busy.map((ticks, core) => `cpu${core} ${ticks} 0 0 ${(idle[core] ?? 0) - 10} 10 0 0 0 5 0`),
    'intr 12345 0 0',
    'ctxt 99',
    '',
  ].join('\n');

const everywhere: Tree = {
  'proc/sys/kernel/hostname': 'red5\n',
  'proc/sys/kernel/panic_on_warn': '0\n',
  'proc/uptime': '93784.22 300000.10\n',
  'proc/loadavg': '0.52 0.31 0.20 1/180 2345\n',
  'proc/meminfo':
    'MemTotal:         907932 kB\nMemFree:          400000 kB\nMemAvailable:     700000 kB\nBuffers:            1000 kB\nSwapFree:              0 kB\n',
  'proc/mounts': 'overlay / overlay rw 0 0\n',
  'proc/stat': cores([100, 100, 100, 100], [1000, 1000, 1000, 1000]),
  'proc/net/dev': [
    'Inter-|   Receive                                                |  Transmit',
    ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed',
    '    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0',
    '  eth0:68719476737    2002    0    0    0     0          0         0  4294967296    1001    0    0    0     0       0          0',
    'veth12@if2:  5       6    0    0    0     0          0         0        7       8    0    0    0     0       0          0',
    '',
  ].join('\n'),
  'sys/class/net/lo/address': '00:00:00:00:00:00\n',
  'sys/class/net/eth0/device/modalias': 'usb:v0424p7800\n',
};

/** Raspberry Pi OS on a 3B+: the kernel has the firmware's own bits. */
const pi3: Tree = {
  ...everywhere,
  'sys/class/thermal/thermal_zone0/type': 'cpu-thermal\n',
  'sys/class/thermal/thermal_zone0/temp': '52078\n',
  'sys/class/hwmon/hwmon0/name': 'cpu_thermal\n',
  'sys/class/hwmon/hwmon0/temp1_input': '52000\n',
  'sys/class/hwmon/hwmon1/name': 'rpi_volt\n',
  'sys/class/hwmon/hwmon1/in0_lcrit_alarm': '0\n',
  'sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq': '1400000\n',
  'sys/bus/platform/drivers/raspberrypi-firmware/soc:firmware/get_throttled': 'f0005\n',
};

/** Debian's kernel on a 5: only the voltage is told of, and there are sensors of other things. */
const pi5: Tree = {
  ...everywhere,
  'sys/class/thermal/thermal_zone0/type': 'cpu-thermal\n',
  'sys/class/thermal/thermal_zone0/temp': '48850\n',
  'sys/class/hwmon/hwmon0/name': 'cpu_thermal\n',
  'sys/class/hwmon/hwmon1/name': 'rp1_adc\n',
  'sys/class/hwmon/hwmon1/temp1_input': '51000\n',
  'sys/class/hwmon/hwmon2/name': 'rpi_volt\n',
  'sys/class/hwmon/hwmon2/in0_lcrit_alarm': '1\n',
  'sys/class/hwmon/hwmon3/name': 'pwmfan\n',
  'sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq': '2400000\n',
};

const common = {
  hostname: 'red5',
  uptimeSeconds: 93_784,
  load: [0.52, 0.31, 0.2],
  memory: { totalBytes: 907_932 * 1024, availableBytes: 700_000 * 1024 },
  network: { eth0: { receivedBytes: 68_719_476_737, receivedPackets: 2002, sentBytes: 4_294_967_296, sentPackets: 1001 } },
};

/** The node's own script with its busybox, where /proc and /sys are ours. `status` is what the server answers. */
async function startNode(tree: Tree, seconds = 1) {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'cardless-vitals-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const signal = new AbortController().signal;
  const { busybox } = await ensureNodePrograms({ cache: findPlaces({ env: process.env }).cache, arch: 'amd64', signal });
  const reports: Vitals[] = [];
  let status = 204;
  const app = express();
  let refused = 0;
  app.use((_request, response, next) => {
    if (status === 204) {
      next();
      return;
    }
    refused += 1;
    response.status(status).end();
  });
  app.use(
    takePosted,
    createVitalsFace({ report: (_key, _peer, vitals) => void reports.push(vitals) }, (request) => ({
      key: tokenOf(request),
      peer: parseIpv4('127.0.0.1'),
    })),
  );
  const server = createServer(app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stack.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const write = async (path: string, text: string): Promise<void> => {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  };
  for (const [path, text] of Object.entries(tree)) {
    await write(path, text);
  }
  const set = (wanted: number): Promise<void> => write('vitals.conf', `VITALS_SECONDS='${wanted}'\n`);
  await set(seconds);
  const at = `127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
  await write('agent.conf', `AGENT_SERVER='http://${at}'\nAGENT_PROXY='http://agent:the-key@${at}'\n`);
  await write('lease', "LEASE_IP='10.0.0.5'\nLEASE_NIC='eth0'\n");
  await mkdir(join(folder, 'disks/root'), { recursive: true });
  await mkdir(join(folder, 'disks/overlay'), { recursive: true });
  await mkdir(join(folder, 'data'));
  await cp(join(agentDirectory, 'vitals.awk'), join(folder, 'vitals.awk'));
  const places: [string, string][] = [
    ['/run/cardless/busybox', busybox],
    ['/run/cardless', folder],
    ['proc=/proc', `proc=${join(folder, 'proc')}`],
    ['sys=/sys', `sys=${join(folder, 'sys')}`],
    ['/etc/cardless/agent.conf', join(folder, 'agent.conf')],
    [' /data"', ` ${join(folder, 'data')}"`],
  ];
  const script = await readFile(join(agentDirectory, 'vitals'), 'utf8');
  await write(
    'vitals',
    places.reduce((text, [from, to]) => text.replaceAll(from, to), script),
  );
  const agents: ReturnType<typeof start>[] = [];
  const start = () => execa(busybox, ['sh', join(folder, 'vitals')], { reject: false, detached: true, stdin: 'ignore', all: true });
  const startAnother = (): void => void agents.push(start());
  startAnother();
  stack.defer(async () => {
    for (const agent of agents) {
      if (agent.pid !== undefined && existsSync(`/proc/${agent.pid}`)) {
        process.kill(-agent.pid, 'SIGKILL');
      }
    }
    await Promise.all(agents);
  });
  const owned = stack.move();
  return {
    reports,
    agents,
    startAnother,
    refused: () => refused,
    write,
    set,
    /** As the freezer does after a refresh. */
    ring: () => ran('sh', ['-c', `echo 1<>'${join(folder, 'vitals.bell')}'`]),
    answer: (wanted: number): void => {
      status = wanted;
    },
    report: async (count: number): Promise<Vitals> => {
      await until(() => Promise.resolve(reports.length >= count), `report ${count}`);
      return reports[count - 1] ?? {};
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('a Pi 3 with the kernel of Raspberry Pi OS: all of it, and the share of each core from the second report on', async () => {
  await using node = await startNode(pi3);
  const first = await node.report(1);
  expect(first).toMatchObject({
    ...common,
    frequencyMHz: 1400,
    temperatureCelsius: 52.1,
    throttled: { from: 'firmware', bits: 0xf_0005 },
  });
  expect(first.cpu).toBeUndefined();
  expect(Object.keys(first.network ?? {})).toEqual(['eth0']);
  expect(first.disks?.root?.usedBytes).toBeGreaterThan(0);
  expect(Object.keys(first.disks ?? {})).toEqual(['root', 'overlay']);
  await node.write('proc/stat', cores([150, 100, 200, 175], [1050, 1100, 1000, 1025]));
  await until(() => Promise.resolve(node.reports.some(({ cpu }) => cpu?.[0] === 50)), 'the share of each core');
  expect(node.reports.find(({ cpu }) => cpu?.[0] === 50)?.cpu).toEqual([50, 0, 100, 75]);
});

test('a Pi 5 with the kernel of Debian tells of its voltage alone, and a core that comes later has no share yet', async () => {
  await using node = await startNode(pi5);
  expect(await node.report(1)).toMatchObject({
    ...common,
    frequencyMHz: 2400,
    temperatureCelsius: 48.9,
    throttled: { from: 'hwmon', bits: 1 },
  });
  await node.write('proc/stat', cores([150, 150, 150, 150, 20], [1050, 1050, 1050, 1050, 80]));
  await until(() => Promise.resolve(node.reports.some(({ cpu }) => cpu?.length === 5)), 'the core that came');
  expect(node.reports.find(({ cpu }) => cpu?.length === 5)?.cpu).toEqual([50, 50, 50, 50, null]);
});

test('a PC without sensors leaves out what it has not, and has a data volume', async () => {
  const { 'proc/mounts': mounts = '', ...rest } = everywhere;
  await using node = await startNode({
    ...rest,
    'proc/mounts': `${mounts}/dev/nbd2 /data ext4 rw,noatime 0 0\n`,
    'sys/class/thermal/thermal_zone0/type': 'acpitz\n',
    'sys/class/thermal/thermal_zone0/temp': '',
  });
  const report = await node.report(1);
  expect(report).toMatchObject(common);
  expect(Object.keys(report.disks ?? {})).toEqual(['root', 'overlay', 'data']);
  expect([report.frequencyMHz, report.temperatureCelsius, report.throttled]).toEqual([undefined, undefined, undefined]);
});

test("the firmware's bits, whose reading is a warning of the kernel's, are not read where a warning stops the node", async () => {
  await using node = await startNode({ ...pi3, 'proc/sys/kernel/panic_on_warn': '1\n' });
  expect((await node.report(1)).throttled).toEqual({ from: 'hwmon', bits: 0 });
});

test('names that would break the JSON do not', async () => {
  await using node = await startNode({ ...everywhere, 'proc/sys/kernel/hostname': 'a"b\\c$(id)\n' });
  expect((await node.report(1)).hostname).toBe('abcid');
});

test('0 switches the reports off, and a ring makes it look at its setting at once', async () => {
  await using node = await startNode(pi3, 3600);
  await node.report(1);
  await node.set(1);
  await node.ring();
  await node.report(3);
  await node.set(0);
  await node.ring();
  const count = node.reports.length;
  await new Promise((resolve) => setTimeout(resolve, 2500));
  expect(node.reports.length - count).toBeLessThanOrEqual(1);
  await node.set(1);
  await node.ring();
  await node.report(node.reports.length + 2);
});

test('a server that refuses is asked again, nothing is said about it, and nothing was kept for it', async () => {
  await using node = await startNode(pi3);
  await node.report(1);
  node.answer(503);
  await until(() => Promise.resolve(node.refused() >= 2), 'it to ask again');
  const count = node.reports.length;
  node.answer(204);
  await node.ring();
  const next = await node.report(count + 1);
  expect(next).toMatchObject(common);
  node.startAnother();
  // The first ends, for there is another, and it has said nothing in all this time.
  expect(await node.agents[0]).toMatchObject({ exitCode: 0, all: '' });
  const before = node.reports.length;
  await node.report(before + 2);
});

const listener = `import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(30)
s.bind(("239.255.67.1", 6000))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.255.67.1") + socket.inet_aton("10.78.0.20"))
print(s.recv(65535).decode())`;

const serial = 'b66c4c16';
const mac = parseMac('b8:27:eb:6c:4c:16');

test('from the seed of a boot to the tables of the operator', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cardless-vitals-'));
  await writeFile(join(folder, 'cardless.yaml'), 'vitalsMulticast: 239.255.67.1:6000\n');
  await using lab = await startLab('vitals', ['--mode', 'full', '--subnet', subnet, '--config', join(folder, 'cardless.yaml')]);
  await publishTestImage(lab.state);
  const call = (...args: string[]): ReturnType<typeof cardless> => cardless(['--state', lab.state, ...args]);
  const settings = join(lab.state, 'fleet.yaml');
  await writeFile(settings, 'settings: {vitalsSeconds: 1}\nnodes: {red5: {serial: b66c4c16, ip: 10.78.0.20}}\n');
  expect((await call('apply', '-f', settings)).stderr).toBe('');
  const board = await lab.lab.addBoard(mac);
  const inside = (file: string, ...args: string[]): ReturnType<typeof ran> => ran(...insideNamespace(board, file, args));
  const out = join(lab.state, 'fetched');
  const sim = await inside(process.execPath, 'src/main.ts', '--json', 'sim', '--interface', 'eth0', '--serial', serial, '--out', out);
  expect(sim.code).toBe(0);
  await lab.lab.removeBoard(board);
  const node = await lab.lab.addBoard(mac);
  const onNode = (file: string, ...args: string[]): ReturnType<typeof ran> => ran(...insideNamespace(node, file, args));
  await onNode('ip', 'address', 'add', '10.78.0.20/24', 'dev', 'eth0');
  const token = /cardless\.token=(\S+)/.exec(await readFile(join(out, 'cmdline'), 'utf8'))?.[1] ?? '';
  const home = join(lab.state, 'node');
  await mkdir(home);
  const get = (path: string, file: string): ReturnType<typeof ran> =>
    onNode('curl', '-sf', '-o', join(home, file), '-H', `Authorization: Bearer ${token}`, `http://10.78.0.1:8067${path}`);
  expect([(await get('/v1/plan', 'plan')).code, (await get('/v1/seed', 'seed.tgz')).code]).toEqual([0, 0]);
  await execa('tar', ['-xzf', join(home, 'seed.tgz'), '-C', home]);
  expect(await readFile(join(home, 'etc/cardless/vitals.conf'), 'utf8')).toBe("VITALS_SECONDS='1'\n");
  const signal = new AbortController().signal;
  const { busybox } = await ensureNodePrograms({ cache: findPlaces({ env: process.env }).cache, arch: 'amd64', signal });
  const run = join(home, 'run');
  await mkdir(run);
  for (const file of ['usr/lib/cardless/vitals.awk', 'etc/cardless/vitals.conf']) {
    await cp(join(home, file), join(run, file.split('/').at(-1) ?? ''));
  }
  const script = (await readFile(join(home, 'usr/lib/cardless/vitals'), 'utf8'))
    .replaceAll('/run/cardless/busybox', busybox)
    .replaceAll('/run/cardless', run)
    .replaceAll('/etc/cardless', join(home, 'etc/cardless'));
  await writeFile(join(run, 'vitals'), script);
  expect((await lab.server.node('red5')).vitals).toBeUndefined();
  const [file, args] = insideNamespace(node, busybox, ['sh', join(run, 'vitals')]);
  const agent = execa(file, args, { reject: false, detached: true, stdin: 'ignore' });
  try {
    await until(async () => (await lab.server.node('red5')).vitals?.cpu !== undefined, 'vitals');
    expect((await lab.server.node('red5')).vitals).toMatchObject({ load: expect.any(Array), disks: { overlay: {} } });
    expect((await call('vitals')).stdout).toMatch(/^NAME +LOAD +CPU .*\nred5 +[\d.]+ +\d+ % .*s ago$/);
    expect((await call('node', 'show', 'red5')).stdout).toMatch(/^heard +\d+ s ago, up for/m);
    const watch = execa(process.execPath, ['src/main.ts', '--state', lab.state, 'vitals', '--watch', '--json'], { reject: false });
    const seen: string[] = [];
    watch.stdout.on('data', (text) => seen.push(String(text)));
    await until(() => Promise.resolve(seen.join('').split('\n').length > 2), 'two looks');
    watch.kill('SIGINT');
    const lines = (await watch).stdout.split('\n').map((line) => JSON.parse(line)[0]);
    expect(lines.map((line) => [line.name, typeof line.vitals.at])).toEqual(lines.map(() => ['red5', 'number']));
    // Whoever listens in the subnet hears it too.
    const multicast = JSON.parse((await onNode('python3', '-c', listener)).stdout);
    expect(multicast).toMatchObject({ load: expect.any(Array), hostname: expect.any(String), disks: { overlay: {} } });
    expect(JSON.parse((await call('node', 'list', '--json')).stdout)).toMatchObject([
      { name: 'red5', vitals: { uptimeSeconds: expect.any(Number) } },
    ]);
  } finally {
    if (agent.pid !== undefined && existsSync(`/proc/${agent.pid}`)) {
      process.kill(-agent.pid, 'SIGKILL');
    }
    await agent;
  }
});
