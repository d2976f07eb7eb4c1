import { expect, test } from 'vitest';
import { parseMac } from '#src/domain/mac.ts';
import { startChild } from '#src/process/supervise.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { cardless, ran, startLab, type TestLab, until } from '../support/lab-server.ts';

interface Board {
  readonly model: string;
  readonly serial: string;
  readonly mac: string;
}

const pc: Board = { model: 'ipxe', serial: '5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e61', mac: '52:54:00:00:06:61' };
const stranger: Board = { model: 'ipxe', serial: '5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e62', mac: '52:54:00:00:06:62' };
const pi: Board = { model: 'pi4', serial: '91cdf03d', mac: 'dc:a6:32:00:06:63' };

/** The Router Advertisements that reach it while it asks by DHCP, as tcpdump reads them. */
async function advertisements(lab: TestLab, { model, serial, mac }: Board): Promise<string[]> {
  const namespace = await lab.lab.addBoard(parseMac(mac));
  const heard: string[] = [];
  const filter = ['-i', 'eth0', '-nn', '-l', '-e', '-v', 'icmp6', 'and', 'ip6[40]', '==', '134'];
  await using ear = startChild(...insideNamespace(namespace, 'tcpdump', filter), { graceMs: 5000, onLine: (line) => heard.push(line) });
  await until(() => Promise.resolve(heard.join('\n').includes('listening on')), 'tcpdump');
  const sim = ['src/main.ts', 'sim', '--interface', 'eth0', '--model', model, '--serial', serial, '--mac', mac];
  // It has asked long before it gives up.
  await ran(...insideNamespace(namespace, 'timeout', ['15', process.execPath, ...sim]));
  await ear.stop();
  return heard.filter((line) => line.includes('router advertisement') || line.includes('router lifetime'));
}

test('iPXE of a node is told that there is no IPv6 router, which it would wait for; nobody else is', async () => {
  await using lab = await startLab('norouter');
  for (const { model, serial } of [pc, pi]) {
    expect((await cardless(['--state', lab.state, 'node', 'add', `${model}1`, '--serial', serial])).code).toBe(0);
  }
  const [told, others, pis] = await Promise.all([pc, stranger, pi].map((board) => advertisements(lab, board)));
  const [first = '', second = ''] = told ?? [];
  expect(first).toMatch(new RegExp(`> ${pc.mac}, .*hlim 255.*> fe80::5054:ff:fe00:661: \\[icmp6 sum ok\\] ICMP6, router advertisement`));
  expect(second).toContain('router lifetime 0s');
  expect([others, pis]).toEqual([[], []]);
});
