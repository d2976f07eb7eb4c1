import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { startChild } from '#src/process/supervise.ts';
import { Lab } from '#src/sim/lab.ts';
import { type Ran, ran, until } from '../support/lab-server.ts';
import { unpackedCommand } from '../support/unpacked.ts';

const snmpd = { name: 'snmpd', packages: ['snmpd'], program: 'usr/sbin/snmpd', probe: ['-v'] };
const port = '1.3.6.1.2.1.105.1.1.1.3.1';

/** Everything is in one name space: the server, a switch with two PoE ports, and a plug that listens by HTTP. */
const stack = new AsyncDisposableStack();
let lab: Lab;
let folder = '';
let state = '';
const serverLog: string[] = [];
const calls: { method: string; url: string; authorization: string; body: string }[] = [];

const cluster = (plug: number): string => `nodes:
  red1: {power: {driver: snmp, host: 127.0.0.1, port: "1.1", community: very-secret-community}}
  red2: {power: {driver: snmp, host: 127.0.0.1, port: "1.2", community: very-secret-community}}
  red3: {power: {driver: snmp, host: 127.0.0.1, port: "1.9", community: very-secret-community}}
  red4: {power: {driver: snmp, host: "127.0.0.1:1162", port: "1.1", community: very-secret-community}}
  blue[1-2]:
    labels: {rack: a}
    power:
      driver: webhook
      on: "http://127.0.0.1:${plug}/{{ node.name }}/on?key=very-secret-key"
      off: "http://127.0.0.1:${plug}/{{ node.name }}/off?key=very-secret-key"
      status: "http://127.0.0.1:${plug}/{{ node.name }}"
      headers: {Authorization: "Bearer very-secret-token"}
      body: '{"state": "{{ action }}"}'
  blue3: {power: {driver: webhook, on: "http://127.0.0.1:${plug}/broken?key=very-secret-key", off: "http://127.0.0.1:8081/x?key=very-secret-key"}}
  green1:
    power:
      driver: command
      on: "echo {{ node.name }} {{ action }} >> '${folder}/commands'"
      off: "echo very-secret-output >&2; exit 3"
      status: "cat; echo power: off"
  green2: {}
`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cardless-power-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  state = join(folder, 'state');
  lab = stack.use(await Lab.create({ name: 'power', address: parseIpv4('10.79.1.1'), subnet: parseSubnet('10.79.1.0/24') }));
  const rules = ['rwcommunity very-secret-community', `override -rw ${port}.1 integer 1`, `override -rw ${port}.2 integer 2`];
  await writeFile(join(folder, 'snmpd.conf'), `${rules.join('\n')}\n`);
  const args = ['-f', '-Lo', '-C', '-c', join(folder, 'snmpd.conf'), '-p', join(folder, 'snmpd.pid'), 'udp:127.0.0.1:161'];
  const [agent, all] = await unpackedCommand(snmpd, args);
  const env = { MIBS: '', SNMP_PERSISTENT_DIR: folder };
  stack.use(startChild(...lab.inside(agent, all), { graceMs: 5000, env }));
  await until(async () => (await ran(...lab.inside('ss', ['-Hlun', 'sport = :161']))).stdout !== '', 'snmpd');
  const plug = await startPlug();
  const [file, serverArgs] = lab.inside(process.execPath, [
    join(projectRoot, 'src/main.ts'),
    '--state',
    state,
    'up',
    '--no-network',
    '--log-level',
    'debug',
  ]);
  stack.use(startChild(file, serverArgs, { graceMs: 30_000, onLine: (line) => serverLog.push(line) }));
  await until(() => Promise.resolve(existsSync(join(state, 'run/admin.sock'))), 'the server');
  await writeFile(join(folder, 'cluster.yaml'), cluster(plug));
  expect((await cardless('apply', '-f', join(folder, 'cluster.yaml'), '--force')).stderr).toBe('');
}, 120_000);

afterAll(() => stack.disposeAsync());

/** Here, because of its records; what listens in the name space hands its connections on. */
async function startPlug(): Promise<number> {
  const states = new Map<string, string>();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      calls.push({ method, url, authorization: headers.authorization ?? '', body: Buffer.concat(chunks).toString() });
      const [, name = '', action] = /^\/(\w+)(?:\/(on|off))?/.exec(url) ?? [];
      if (action !== undefined) {
        states.set(name, action);
      }
      response.statusCode = name === 'broken' ? 500 : 200;
      response.end(JSON.stringify({ POWER: (states.get(name) ?? 'off').toUpperCase() }));
    });
  });
  const socket = join(folder, 'plug.sock');
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  stack.defer(() => {
    server.closeAllConnections();
    server.close();
  });
  const relay = `require('net').createServer((c) => { const s = require('net').connect('${socket}'); c.pipe(s).pipe(c); c.on('error', () => {}); s.on('error', () => {}); }).listen(8080, '127.0.0.1')`;
  stack.use(startChild(...lab.inside(process.execPath, ['-e', relay]), { graceMs: 1000 }));
  await until(async () => (await ran(...lab.inside('ss', ['-Hltn', 'sport = :8080']))).stdout !== '', 'the plug');
  return 8080;
}

async function cardless(...args: string[]): Promise<Ran> {
  const [file, all] = lab.inside(process.execPath, [join(projectRoot, 'src/main.ts'), '--state', state, ...args]);
  const result = await execa(file, all, { reject: false, stdin: 'ignore' });
  return { code: result.exitCode ?? -1, stdout: result.stdout, stderr: result.stderr };
}

const json = async (...args: string[]): Promise<Record<string, unknown>[]> =>
  JSON.parse((await cardless('--json', 'power', ...args)).stdout);

test('ports of a PoE switch are switched and asked, and two at once do not mix', async () => {
  const states = async (): Promise<unknown[]> => (await json('status', 'red[1-2]')).map((result) => result['state']);
  expect(await states()).toEqual(['on', 'off']);
  expect((await cardless('power', 'on', 'red[1-2]')).stdout).toBe('red[1-2]: switched on');
  expect(await states()).toEqual(['on', 'on']);
  await cardless('power', 'off', 'red2');
  expect(await states()).toEqual(['on', 'off']);
  const cycled = await cardless('power', 'cycle', 'red2');
  expect([cycled.code, cycled.stdout]).toEqual([0, 'red2: switched off and on']);
  expect(await states()).toEqual(['on', 'on']);
});

test('a port that is not there, and a switch that does not answer, are told by name', async () => {
  const done = await cardless('power', 'off', 'red[3-4]');
  expect(done.code).toBe(1);
  expect(done.stdout).toMatch(/^red3: not switched off: 127\.0\.0\.1 ref/m);
  expect(done.stdout).toContain('red4: not switched off: 127.0.0.1 does not answer by SNMP');
});

test('a webhook gets its method, headers and body, one call for each node; its answer is the state', async () => {
  calls.length = 0;
  expect((await cardless('power', 'on', 'rack=a')).stdout).toBe('blue[1-2]: switched on');
  expect(calls.toSorted((a, b) => a.url.localeCompare(b.url))).toEqual(
    ['blue1', 'blue2'].map((name) => ({
      method: 'POST',
      url: `/${name}/on?key=very-secret-key`,
      authorization: 'Bearer very-secret-token',
      body: '{"state": "on"}',
    })),
  );
  expect(await json('status', 'blue1')).toEqual([{ name: 'blue1', driver: 'webhook', done: true, state: 'on' }]);
  await cardless('power', 'off', 'blue1');
  expect(await json('status', 'rack=a')).toMatchObject([{ state: 'off' }, { state: 'on' }]);
  expect((await cardless('power', 'on', 'blue3')).stdout).toBe('blue3: not switched on: 127.0.0.1:8080 answered 500');
  expect((await cardless('power', 'off', 'blue3')).stdout).toBe('blue3: not switched off: 127.0.0.1:8081 did not answer: ECONNREFUSED');
});

test('a command gets the record, no stdin, and its exit code counts', async () => {
  expect((await cardless('power', 'on', 'green1')).stdout).toBe('green1: switched on');
  expect(await readFile(join(folder, 'commands'), 'utf8')).toBe('green1 on\n');
  expect(await json('status', 'green1')).toMatchObject([{ state: 'off' }]);
  const failed = await cardless('power', 'off', 'green1');
  expect([failed.code, failed.stdout]).toEqual([1, 'green1: not switched off: its command ended with exit code 3']);
});

test('without a driver it is the agent, and an order without an agent says so', async () => {
  expect(await json('on', 'green2')).toMatchObject([{ driver: 'agent', done: false, reason: expect.stringContaining('cannot switch') }]);
  const off = await cardless('reboot', 'green2');
  expect([off.code, off.stdout]).toEqual([1, 'green2: not taken: no agent of the node listens']);
});

test('waves are told, and one after another', async () => {
  calls.length = 0;
  const done = await cardless('power', 'on', 'blue[1-2]', '--wave', '1', '--pause', '100ms');
  expect(done.stderr).toBe('wave 1 of 2: blue1\nwave 2 of 2: blue2');
  expect(calls.map(({ url }) => url.split('/')[1])).toEqual(['blue1', 'blue2']);
  const dry = await cardless('poweroff', '@all', '--by', 'rack', '--dry-run');
  expect([dry.code, dry.stdout, dry.stderr]).toEqual([0, '', 'wave 1 of 2: blue[1-2]\nwave 2 of 2: blue3,green[1-2],red[1-4]']);
  expect((await cardless('power', 'on', '@all', '--wave', '0')).stderr).toContain('is not a number of nodes');
});

test('nothing that is secret is in the log of the server', () => {
  const log = serverLog.join('\n');
  expect(log).toContain('power switched');
  expect(log).toContain('power could not be switched');
  expect(log).not.toContain('very-secret');
});
