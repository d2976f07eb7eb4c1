import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { projectRoot } from '#src/config/places.ts';
import { parseMac } from '#src/domain/mac.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { dnsQuery, upstreamReply } from '../support/dns.ts';
import { cardless, ran, startLab, subnet } from '../support/lab-server.ts';

const packets = 200_000;
/** As in flood.test.ts: V8 lets some garbage lie; one retained packet each would be more than this. */
const breathMib = 64;

const corpus = [
  ...['red5', 'red5.cluster.internal', 'nobody.cluster.internal', 'www.example.org', '.'].flatMap((name) => [
    dnsQuery(name),
    dnsQuery(name, { edns: true, type: 'TXT' }),
  ]),
  dnsQuery('20.0.78.10.in-addr.arpa', { type: 'PTR' }),
  dnsQuery('cluster.internal', { type: 'AXFR' }),
  upstreamReply(dnsQuery('x.example.org'), [{ name: 'x.example.org', type: 'A', ttl: 1, data: '192.0.2.1' }]),
];

async function residentMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
}

test('mutated packets from a hundred addresses, by UDP and TCP: a node is answered all along, and nothing piles up', {
  timeout: 300_000,
}, async () => {
  // Nobody listens there, so questions to the world wait as long as they can.
  const config = ['--upstream-dns', '192.0.2.99', '--log-level', 'error'];
  await using lab = await startLab('dnsflood', ['--mode', 'full', '--subnet', subnet, '--name-server', ...config]);
  expect((await cardless(['--state', lab.state, 'node', 'add', 'red5', '--mac', '52:54:00:00:05:05', '--ip', '10.78.0.20'])).stderr).toBe(
    '',
  );
  await ran('ip', ['-n', lab.lab.namespace, 'route', 'add', 'blackhole', '192.0.2.99']);
  const honest = await lab.lab.addBoard(parseMac('52:54:00:00:05:05'));
  await ran('ip', ['-n', honest, 'address', 'add', '10.78.0.20/24', 'dev', 'eth0']);
  const hostile = await lab.lab.addBoard(parseMac('52:54:00:00:05:06'));
  for (let host = 100; host < 200; host += 1) {
    await ran('ip', ['-n', hostile, 'address', 'add', `10.78.0.${host}/24`, 'dev', 'eth0']);
  }
  const file = join(lab.state, 'corpus');
  await writeFile(file, corpus.map((packet) => packet.toString('hex')).join('\n'));
  const { pid } = z.object({ pid: z.number() }).parse(await lab.server.client.call('GET', '/status'));
  const script = join(projectRoot, 'test/support/dns-flood.py');
  const flood = async (seed: number, count: number): Promise<void> => {
    const args = [script, String(seed), String(count), '10.78.0.1', '100', '199', file];
    expect(await ran(...insideNamespace(hostile, 'python3', args))).toMatchObject({ code: 0, stdout: 'sent', stderr: '' });
  };
  const resident: number[] = [];
  let served = 0;
  let repeated = 0;
  for (let part = 0; part < 5; part += 1) {
    let isOver = false;
    const flooding = flood(part, packets / 5).finally(() => {
      isOver = true;
    });
    while (!isOver) {
      const asked = await ran(...insideNamespace(honest, 'dig', ['@10.78.0.1', '+short', '+tries=5', '+timeout=2', 'red5']));
      // dig tells of each question that it had to repeat, for UDP may lose some.
      expect(asked.stdout.split('\n').at(-1)).toBe('10.78.0.20');
      served += 1;
      repeated += asked.stdout.split('\n').length - 1;
    }
    await flooding;
    resident.push(await residentMib(pid));
  }
  process.stdout.write(
    `DNS: ${packets} packets; ${served} honest questions, all answered, ${repeated} of them asked again; resident MiB at every fifth: ${resident.join(' ')}\n`,
  );
  expect(served).toBeGreaterThan(5);
  expect(Math.max(...resident.slice(2)) - (resident[1] ?? 0)).toBeLessThanOrEqual(breathMib);
});
