import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseMac } from '#src/domain/mac.ts';
import { type Child, startChild } from '#src/process/supervise.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { type DhcpClient, dhcpClients } from '../support/dhcp-clients.ts';
import { cardless, ran, startLab, type TestLab, until } from '../support/lab-server.ts';
import { perfdhcpCommand } from '../support/perfdhcp.ts';

const tools = Object.keys(dhcpClients);
const macOf = (tool: string): string => `52:54:00:00:03:0${tools.indexOf(tool) + 1}`;
const addressOf = (tool: string): string => `10.78.0.3${tools.indexOf(tool) + 1}`;

async function startTool(lab: TestLab, tool: string, namespace: string): Promise<DhcpClient> {
  const client = dhcpClients[tool];
  if (!client) {
    throw new Error(`${tool} is not a client`);
  }
  return await client.start({ namespace, work: await mkdtemp(join(lab.state, 'tool-')) });
}

async function register(lab: TestLab): Promise<void> {
  for (const tool of tools) {
    const added = await cardless(['--state', lab.state, 'node', 'add', tool, '--mac', macOf(tool), '--ip', addressOf(tool)]);
    expect(added.stderr).toBe('');
  }
}

describe('DHCP clients of real systems in mode full', () => {
  let lab: TestLab;
  beforeAll(async () => {
    lab = await startLab('leases', ['--mode', 'full', '--subnet', '10.78.0.0/24', '--router', '10.78.0.254']);
    await register(lab);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  test.concurrent.each(tools)('%s gets its registered address, keeps it, gives it back, and gets it again', async (tool) => {
    const namespace = await lab.lab.addBoard(parseMac(macOf(tool)));
    const lease = { address: addressOf(tool), mask: '255.255.255.0', router: '10.78.0.254', server: '10.78.0.1' };
    {
      await using client = await startTool(lab, tool, namespace);
      await until(async () => (await client.leases()).length > 0, `a lease\n${client.said()}`, 40_000);
      await client.renew();
      await until(async () => (await client.leases()).length > 1, `the lease kept\n${client.said()}`, 40_000);
      await client.release();
      for (const given of await client.leases()) {
        expect(given).toEqual(lease);
      }
      expect(client.said()).toMatch(dhcpClients[tool]?.releases ?? /never/);
      expect(client.said()).not.toMatch(/DHCPNAK|\bNAK\b|decline/i);
    }
    await using again = await startTool(lab, tool, namespace);
    await until(async () => (await again.leases()).length > 0, `a lease after the release\n${again.said()}`, 40_000);
    expect((await again.leases())[0]).toEqual(lease);
  });

  test('perfdhcp: exchanges of 20 clients, none lost, refused or malformed', async () => {
    const macs = Array.from({ length: 20 }, (_, index) => `52:54:00:00:04:${String(index + 10)}`);
    await cardless(['--state', lab.state, 'node', 'add', 'perf[10-29]', '--mac', macs.join(','), '--ip', '10.78.0.[60-79]']);
    const list = join(lab.state, 'macs');
    await writeFile(list, `${macs.join('\n')}\n`);
    const namespace = await lab.lab.addBoard(parseMac('52:54:00:00:04:01'));
    await ran('ip', ['-n', namespace, 'address', 'add', '10.78.0.5/24', 'dev', 'eth0']);
    // It counts what is under way at the end as lost, unless it waits.
    const flags = ['-4', '-l', 'eth0', '-M', list, '-r', '100', '-n', '300', '-W', '3000000', '-d', '3'];
    const done = await ran(...insideNamespace(namespace, ...(await perfdhcpCommand([...flags, 'all']))));
    const said = done.stdout + done.stderr;
    const counts = (name: string): number[] => [...said.matchAll(new RegExp(`^${name}: (\\d+)`, 'gm'))].map((match) => Number(match[1]));
    expect(counts('sent packets'), said).toEqual([300, 300]);
    expect(counts('received packets')).toEqual([300, 300]);
    expect([...counts('drops'), ...counts('rejected leases'), ...counts('Malformed packets')]).toEqual([0, 0, 0, 0, 0]);
  });
});

describe('DHCP clients of real systems in mode proxy, with dnsmasq as the router', () => {
  let lab: TestLab;
  let router: Child;
  beforeAll(async () => {
    lab = await startLab('beside', ['--mode', 'proxy']);
    await register(lab);
    const namespace = await lab.lab.addBoard(parseMac('52:54:00:00:00:fe'));
    await ran('ip', ['-n', namespace, 'address', 'add', '10.78.0.254/24', 'dev', 'eth0']);
    const pid = join(lab.state, 'router.pid');
    const flags = ['--keep-in-foreground', '--conf-file=/dev/null', '--port=0', '--interface=eth0', '--bind-interfaces', '--user=root'];
    const range = ['--dhcp-range=10.78.0.100,10.78.0.150,1h', '--dhcp-option=3,10.78.0.254', '--no-ping'];
    const files = [`--dhcp-leasefile=${join(lab.state, 'router.leases')}`, `--pid-file=${pid}`];
    router = startChild(...insideNamespace(namespace, 'dnsmasq', [...flags, ...range, ...files]), { graceMs: 5000 });
    await until(async () => (await readFile(pid, 'utf8').catch(() => '')) !== '', 'dnsmasq');
  });
  afterAll(async () => {
    await router.stop();
    await lab[Symbol.asyncDispose]();
  });

  test.concurrent.each(tools)("%s has the router's lease and hears nothing from us, although it is a node", async (tool) => {
    const namespace = await lab.lab.addBoard(parseMac(macOf(tool)));
    const heard: string[] = [];
    const filter = ['-i', 'eth0', '-nn', '-l', 'udp', 'and', 'dst', 'port', '68'];
    await using ear = startChild(...insideNamespace(namespace, 'tcpdump', filter), { graceMs: 5000, onLine: (line) => heard.push(line) });
    await until(() => Promise.resolve(heard.join('\n').includes('listening on')), 'tcpdump');
    await using client = await startTool(lab, tool, namespace);
    await until(async () => (await client.leases()).length > 0, `a lease\n${client.said()}`, 40_000);
    const [lease] = await client.leases();
    expect(lease).toMatchObject({ mask: '255.255.255.0', router: '10.78.0.254', server: '10.78.0.254' });
    expect(lease?.address).toMatch(/^10\.78\.0\.1[0-5]\d$/);
    await until(() => Promise.resolve(heard.some((line) => line.includes('10.78.0.254.67 >'))), "the router's answers");
    await ear.stop();
    expect(heard.filter((line) => line.includes('10.78.0.1.67'))).toEqual([]);
  });
});
