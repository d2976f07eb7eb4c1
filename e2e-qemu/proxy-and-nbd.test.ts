import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseMac } from '#src/domain/mac.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { pcSerial, ready, useRealImages, virtualPc } from '../test/support/guests.ts';
import { cardless, ran, serverLog, startLab, until } from '../test/support/lab-server.ts';

test('proxy mode: a PC boots beside a foreign DHCP server, and outlives nbd-server and the whole server being killed', async () => {
  await using lab = await startLab('proxy', ['--mode', 'proxy']);
  await useRealImages(lab);
  const router = await lab.lab.addBoard(parseMac('52:54:00:00:00:fe'));
  await ran(...insideNamespace(router, 'ip', ['address', 'add', '10.78.0.254/24', 'dev', 'eth0']));
  const options = [
    '--conf-file=/dev/null',
    '--port=0',
    '--interface=eth0',
    '--bind-interfaces',
    '--dhcp-range=10.78.0.100,10.78.0.150,1h',
    '--user=root',
  ];
  const files = [`--dhcp-leasefile=${join(lab.state, 'router.leases')}`, `--pid-file=${join(lab.state, 'router.pid')}`];
  expect((await ran(...insideNamespace(router, 'dnsmasq', [...options, ...files]))).code).toBe(0);
  expect((await cardless(['--state', lab.state, 'node', 'add', 'pc1', '--serial', pcSerial])).code).toBe(0);
  await using pc = virtualPc(lab);
  await pc.powerOn();
  const node = await ready(lab.server, 'pc1', pc);
  expect(node.address).toMatch(/^10\.78\.0\.1\d\d$/);
  expect(await readFile(join(lab.state, 'router.leases'), 'utf8')).toContain(node.address);

  const signal = new AbortController().signal;
  const ssh = (command: string): Promise<string> => lab.server.ssh('pc1', command, signal);
  const mark = async (text: string): Promise<void> => void (await ssh(`echo ${text} >>/root/marks && sync && cat /usr/bin/* >/dev/null`));
  await mark('before');

  // Only the parent of nbd-server: what it forked goes on.
  const pidFile = join(lab.state, 'run/br0/nbd-server.pid');
  const parent = Number(await readFile(pidFile, 'utf8'));
  process.kill(parent, 'SIGKILL');
  await until(async () => (await serverLog(lab.server)).split('nbd-server serves').length === 3, 'a new nbd-server');
  await mark('parent-killed');

  // All of nbd-server: the node loses its connections, waits, and connects again.
  const children = (await ran('ps', ['-eo', 'pid,args'])).stdout
    .split('\n')
    .filter((line) => line.includes(join(lab.state, 'run/br0/nbd-server.conf')));
  expect(children.length).toBeGreaterThanOrEqual(3);
  for (const line of children) {
    process.kill(Number(line.trim().split(/\s+/)[0]), 'SIGKILL');
  }
  await until(async () => (await serverLog(lab.server)).split('nbd-server serves').length === 4, 'another nbd-server');
  await mark('all-killed');

  // The whole server.
  await lab.server.crash();
  await lab.server.start();
  await mark('server-killed');
  expect(await ssh('cat /root/marks')).toBe('before\nparent-killed\nall-killed\nserver-killed');
  const kernel = await ssh('dmesg');
  expect(kernel).toMatch(/nbd-attach: nbd1: connected again/);
  expect(kernel).not.toMatch(/I\/O error|Aborting journal|Remounting filesystem read-only/);
  process.kill(Number(await readFile(join(lab.state, 'router.pid'), 'utf8')), 'SIGTERM');
});
