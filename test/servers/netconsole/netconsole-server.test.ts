import { expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { macFromBytes } from '#src/domain/mac.ts';
import { type ConsoleSender, NetconsoleServer } from '#src/servers/netconsole/netconsole-server.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const address = parseIpv4('169.254.1.1');

function sender(number: number): ConsoleSender {
  const bytes = Buffer.alloc(6);
  bytes.writeUInt32BE(number, 2);
  return { mac: macFromBytes(bytes), address };
}

function start(): { server: NetconsoleServer; clock: FakeClock; told: string[] } {
  const clock = new FakeClock();
  const told: string[] = [];
  const server = new NetconsoleServer({ clock, onLine: ({ mac }, line) => told.push(`${mac.slice(-2)} ${line}`) });
  return { server, clock, told };
}

test('boards with the same address are told apart by their MAC', () => {
  const { server, told } = start();
  server.receive(Buffer.from('one '), sender(1));
  server.receive(Buffer.from('two '), sender(2));
  server.receive(Buffer.from('is 1\n'), sender(1));
  server.receive(Buffer.from('is 2\n'), sender(2));
  expect(told).toEqual(['01 one is 1', '02 two is 2']);
});

test('a line that gets no end is told after a second, once', async () => {
  const { server, clock, told } = start();
  server.receive(Buffer.from('no end'), sender(1));
  await clock.run(() => false, 10_000);
  expect(told).toEqual(['01 no end']);
  server.receive(Buffer.from('\nnext\n'), sender(1));
  await clock.run(() => false, 10_000);
  expect(told).toEqual(['01 no end', '01 next']);
});

test('many senders cost bounded memory, and no timer is left', () => {
  const { server, clock, told } = start();
  for (let number = 0; number < 10_000; number += 1) {
    server.receive(Buffer.from('begun'), sender(number));
  }
  expect(clock.pending).toBe(256);
  expect(told).toEqual([]);
  server.close();
  expect(clock.pending).toBe(0);
});
