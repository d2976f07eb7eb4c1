/** A million broken packets through the whole DHCP engine: stores, address book, server. Too long for the inner loop. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as breathe } from 'node:timers/promises';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { AddressBook } from '#src/daemon/address-book.ts';
import { NodeFinder } from '#src/daemon/node-finder.ts';
import { systemClock } from '#src/daemon/system-clock.ts';
import { parseImageName } from '#src/domain/image.ts';
import { anyAddress, parseAddressRange, parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { parseMac } from '#src/domain/mac.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { DhcpServer } from '#src/servers/dhcp/dhcp-server.ts';
import { openDatabase } from '#src/store/database.ts';
import { LeaseStore } from '#src/store/leases.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { capture, captureNames } from '../support/captures.ts';

const packets = 1_000_000;
const server = parseIpv4('10.90.0.1');
const subnet = parseSubnet('10.90.0.0/16');

test('a million mutated packets: no failure, memory flat, service unharmed', { timeout: 600_000 }, async () => {
  const database = openDatabase(join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db'));
  const nodes = new NodeStore(database);
  const leases = new LeaseStore(database);
  const macs = ['e45f010902f7', '525400aabb01', 'b827eb6c4c16', 'b827ebfe3a41', '2ccf67a1b2c3'].map(parseMac);
  nodes.add(
    macs.map((mac, index) => ({
      name: parseNodeName(`red${index}`),
      macs: [mac],
      image: parseImageName('debian-13'),
      overlay: 'persistent',
      reimage: false,
    })),
  );
  const finder = new NodeFinder({ nodes, leases, neighbours: () => Promise.resolve(new Map()) });
  const scopes = [{ subnet, pool: parseAddressRange('10.90.128.0-10.90.255.250'), dns: [] }] as const;
  const addresses = new AddressBook({ scopes, own: server, nodes, leases, clock: systemClock, log: pino({ level: 'silent' }) });
  const count = { refused: 0, decided: 0, sent: 0 };
  const failures: unknown[] = [];
  const dhcp = new DhcpServer({
    facts: { mode: 'full', server, subnet, dns: [], leaseSeconds: 3600, ipxeUrl: 'http://10.90.0.1:8067/ipxe/start' },
    clock: systemClock,
    findNode: (client) => finder.find(client),
    addresses,
    report: () => {
      count.decided += 1;
    },
    onBadPacket: () => {
      count.refused += 1;
    },
    onFailure: (error) => failures.push(error),
  });
  const send = (): void => {
    count.sent += 1;
  };
  const captures = captureNames().map(capture);
  const random = seeded(1);
  const memory: number[] = [];
  for (let index = 0; index < packets; index += 1) {
    const packet = mutated(captures[random(captures.length)] ?? Buffer.alloc(0), random);
    dhcp.receive(packet, { address: anyAddress, port: 68 }, send, random(10) === 0 ? 4011 : 67);
    if (index % 1000 === 0) {
      await breathe();
    }
    if (index % (packets / 5) === packets / 5 - 1) {
      memory.push(Math.round(process.memoryUsage().rss / 1e6));
    }
  }
  process.stdout.write(`fuzz: ${packets} packets, ${JSON.stringify(count)}, MB after each fifth: ${memory.join(' ')}\n`);
  expect(failures).toEqual([]);
  expect(count.refused).toBeGreaterThan(packets / 10);
  expect(count.decided).toBeGreaterThan(packets / 10);
  expect((memory.at(-1) ?? 0) - (memory[0] ?? 0)).toBeLessThan(100);
  const before = count.sent;
  dhcp.receive(capture('pi4-eeprom-discover'), { address: anyAddress, port: 68 }, send);
  expect(count.sent).toBe(before + 1);
  dhcp.close();
});

/** Numerical Recipes' linear congruence: the same packets at every run. */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Most changes hit the options, where the decisions are. */
function mutated(packet: Buffer, random: (below: number) => number): Buffer {
  const bytes = Buffer.from(packet);
  for (let change = random(8); change >= 0; change -= 1) {
    const at = random(3) === 0 ? random(bytes.length) : 236 + random(bytes.length - 236);
    bytes[at] = random(256);
  }
  return random(5) === 0 ? bytes.subarray(0, random(bytes.length)) : bytes;
}
