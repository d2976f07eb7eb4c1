/** DHCP against the programs and the machines that share its link. */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { parseAddressRange } from '#src/domain/ipv4.ts';
import { type Mac, parseMac } from '#src/domain/mac.ts';
import { allocateAddress } from '#src/policy/allocate-address.ts';
import { startChild } from '#src/process/supervise.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { cardless, inLab, ran, serverLog, startLab, subnet, type TestLab, until } from '../support/lab-server.ts';

const mac = parseMac('b8:27:eb:6c:4c:16');
const full = (pool: string): string[] => ['--mode', 'full', '--subnet', subnet, '--pool', pool];
const Status = z.object({
  interfaces: z.array(
    z.object({
      setAside: z.array(z.object({ address: z.string(), why: z.string() })),
      otherDhcpServers: z.array(z.object({ address: z.string(), isExpected: z.boolean() })),
    }),
  ),
});

const udhcpc = ['udhcpc', '-i', 'eth0', '-n', '-q', '-f', '-s', '/bin/true', '-T', '2', '-t'];

async function ask(board: string, attempts = 4): ReturnType<typeof ran> {
  const [program = '', ...args] = [...udhcpc, String(attempts)];
  return await ran(...insideNamespace(board, program, args));
}

async function add(lab: TestLab, name: string, who: Mac, ...more: string[]): Promise<void> {
  expect((await cardless(['--state', lab.state, 'node', 'add', name, '--mac', who, ...more])).code).toBe(0);
}

async function machineAt(lab: TestLab, who: string, address: string): Promise<string> {
  const namespace = await lab.lab.addBoard(parseMac(who));
  await ran(...insideNamespace(namespace, 'ip', ['address', 'add', `${address}/24`, 'dev', 'eth0']));
  return namespace;
}

async function interfaceStatus(lab: TestLab): Promise<z.infer<typeof Status>['interfaces'][number] | undefined> {
  return Status.parse(await lab.server.client.call('GET', '/status')).interfaces[0];
}

describe('an address that somebody uses', () => {
  test('is not offered: the other one is, and the first is told in the status', async () => {
    const pool = '10.78.0.200-10.78.0.201';
    const first = allocateAddress({ mac, pool: parseAddressRange(pool), isTaken: () => false });
    const second = first === '10.78.0.200' ? '10.78.0.201' : '10.78.0.200';
    await using lab = await startLab('probe', full(pool));
    await machineAt(lab, '52:54:00:00:00:c8', String(first));
    await add(lab, 'red5', mac);
    const leased = await ask(await lab.lab.addBoard(mac));
    expect(leased.stderr + leased.stdout).toContain(`lease of ${second} obtained from 10.78.0.1`);
    expect((await interfaceStatus(lab))?.setAside).toEqual([{ address: first, why: 'used by 52:54:00:00:00:c8' }]);
  });
});

describe('hold', () => {
  test('its firmware hears nothing until unhold; its system is served all the while', async () => {
    await using lab = await startLab('hold');
    await add(lab, 'red5', mac);
    const board = await lab.lab.addBoard(mac);
    const says = async (...args: string[]): Promise<string> => (await cardless(['--state', lab.state, ...args])).stdout;
    expect(await says('node', 'hold', 'red5')).toContain('red5: on hold');
    expect(await says('node', 'list')).toContain('on hold');
    const firmware = [...udhcpc.slice(1), '2', '-V', 'PXEClient:Arch:00000:UNDI:002001', '-x', '0x61:00164c6cb6164c6cb6164c6cb6164c6cb6'];
    const asFirmware = (): ReturnType<typeof ran> => ran(...insideNamespace(board, 'udhcpc', firmware));
    expect((await asFirmware()).code).not.toBe(0);
    expect(await serverLog(lab.server)).not.toContain('dhcp reply could not be made');
    expect((await ask(board)).code).toBe(0);
    await says('node', 'unhold', 'red5');
    expect((await asFirmware()).code).toBe(0);
  });
});

describe('another DHCP server on the link', () => {
  test.each([
    ['full', false],
    ['proxy', true],
  ])('mode %s: it is found by what it sends', async (mode, isExpected) => {
    await using lab = await startLab(`rival${mode}`, mode === 'full' ? full('10.78.0.200-10.78.0.202') : ['--mode', mode]);
    const router = await machineAt(lab, '52:54:00:00:00:fe', '10.78.0.254');
    const pidFile = join(lab.state, 'router.pid');
    const dnsmasq = ran(
      ...insideNamespace(router, 'dnsmasq', [
        '--keep-in-foreground',
        '--conf-file=/dev/null',
        '--port=0',
        '--interface=eth0',
        '--bind-interfaces',
        '--dhcp-range=10.78.0.100,10.78.0.150,1h',
        `--dhcp-leasefile=${join(lab.state, 'router.leases')}`,
        '--user=root',
        `--pid-file=${pidFile}`,
      ]),
    );
    await until(async () => (await readFile(pidFile, 'utf8').catch(() => '')) !== '', 'dnsmasq');
    const phone = await lab.lab.addBoard(parseMac('52:54:00:77:77:77'));
    await ask(phone);
    await until(async () => ((await interfaceStatus(lab))?.otherDhcpServers.length ?? 0) > 0, 'the other server to be seen');
    expect((await interfaceStatus(lab))?.otherDhcpServers).toMatchObject([{ address: '10.78.0.254', isExpected }]);
    const told = (await cardless(['--state', lab.state, 'status'])).stdout;
    expect(told).toContain(isExpected ? '10.78.0.254 gives the addresses' : 'another DHCP server, 10.78.0.254, answers here');
    const log = await serverLog(lab.server);
    expect(log.split('another DHCP server answers here').length - 1).toBe(isExpected ? 0 : 1);
    process.kill(Number(await readFile(pidFile, 'utf8')), 'SIGTERM');
    await dnsmasq;
  });
});

test('a client behind a relay (dnsmasq) gets an address of its own subnet', async () => {
  await using lab = await startLab('relay');
  await lab.server[Symbol.asyncDispose]();
  const state = await mkdtemp(join(tmpdir(), 'cardless-test-'));
  await writeFile(
    join(state, 'cardless.yaml'),
    'interfaces:\n  - name: br0\n    mode: full\n    relayed:\n      - subnet: 10.88.0.0/24\n        router: 10.88.0.1\n',
  );
  const said: string[] = [];
  const server = startChild(...lab.lab.inside(process.execPath, ['src/main.ts', '--state', state, 'up']), {
    graceMs: 15_000,
    onLine: (line) => said.push(line),
  });
  await until(() => Promise.resolve(said.join('\n').includes('"msg":"ready"')), 'the server');
  expect((await cardless(['--state', state, 'node', 'add', 'red5', '--mac', mac])).code).toBe(0);
  const relay = await machineAt(lab, '52:54:00:00:00:09', '10.78.0.9');
  const client = await lab.lab.addBoard(mac);
  // The client's link ends at the relay, not at the lab's bridge.
  const inRelay = (...args: string[]): ReturnType<typeof ran> => ran(...insideNamespace(relay, 'ip', args));
  await ran(...insideNamespace(client, 'ip', ['link', 'del', 'eth0']));
  await inRelay('link', 'add', 'far', 'type', 'veth', 'peer', 'name', 'eth0', 'address', mac, 'netns', client);
  await inRelay('address', 'add', '10.88.0.1/24', 'dev', 'far');
  await inRelay('link', 'set', 'far', 'up');
  await ran(...insideNamespace(client, 'ip', ['link', 'set', 'eth0', 'up']));
  await inLab(lab.lab, 'ip', 'route', 'add', '10.88.0.0/24', 'via', '10.78.0.9');
  const pidFile = join(state, 'relay.pid');
  const dnsmasq = ran(
    ...insideNamespace(relay, 'dnsmasq', [
      '--keep-in-foreground',
      '--conf-file=/dev/null',
      '--port=0',
      '--dhcp-relay=10.88.0.1,10.78.0.1',
      '--user=root',
      `--pid-file=${pidFile}`,
    ]),
  );
  await until(async () => (await readFile(pidFile, 'utf8').catch(() => '')) !== '', 'dnsmasq');
  const leased = await ask(client);
  expect(leased.stderr + leased.stdout).toMatch(/lease of 10\.88\.0\.(1[3-9]\d|2\d\d|12[89]) obtained/);
  process.kill(Number(await readFile(pidFile, 'utf8')), 'SIGTERM');
  await dnsmasq;
  expect(await server.stop()).toEqual({ kind: 'exited', exitCode: 0 });
});

test('an address that changes under us: the node is told the new one, and the old one is forgotten', async () => {
  await using lab = await startLab('moves');
  await add(lab, 'red5', mac);
  const board = await lab.lab.addBoard(mac);
  expect((await ask(board)).stderr).toContain('obtained from 10.78.0.1,');
  await inLab(lab.lab, 'ip', 'address', 'add', '10.78.0.2/24', 'dev', 'br0');
  await inLab(lab.lab, 'ip', 'address', 'del', '10.78.0.1/24', 'dev', 'br0');
  // The kernel drops the second address of a subnet with the first one.
  await inLab(lab.lab, 'ip', 'address', 'replace', '10.78.0.2/24', 'dev', 'br0');
  await until(async () => (await serverLog(lab.server)).includes('interface is served again'), 'the new address to be noticed');
  expect((await ask(board)).stderr).toContain('obtained from 10.78.0.2,');
  expect((await inLab(lab.lab, 'ss', '-Hlnut')).stdout).not.toContain('10.78.0.1:');
});

test('many nodes are registered at once', async () => {
  await using lab = await startLab('many');
  const macs = Array.from(
    { length: 2000 },
    (_, index) => `00:0c:01:02:${(index >> 8).toString(16).padStart(2, '0')}:${(index & 255).toString(16).padStart(2, '0')}`,
  );
  const added = await cardless(['--state', lab.state, '--json', 'node', 'add', 'n[1-2000]', '--mac', macs.join(',')]);
  expect(z.array(z.object({ name: z.string() })).parse(JSON.parse(added.stdout))).toHaveLength(2000);
  expect((await inLab(lab.lab, 'true')).code).toBe(0);
});
