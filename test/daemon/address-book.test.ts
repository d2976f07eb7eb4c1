import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { AddressBook } from '#src/daemon/address-book.ts';
import { type Ipv4, parseAddressRange, parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { type Mac, parseMac } from '#src/domain/mac.ts';
import { type Node, parseNodeName } from '#src/domain/node.ts';
import type { Client } from '#src/policy/classify-client.ts';
import { openDatabase } from '#src/store/database.ts';
import { LeaseStore } from '#src/store/leases.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { addressBytes, read, withOptions } from '../support/dhcp-messages.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { nodeRecord } from '../support/nodes.ts';

const discover = read('pi4-eeprom-discover');
const client = (index: number): Client => ({ class: 'pi4-eeprom', mac: parseMac(`e45f010000${index.toString(16).padStart(2, '0')}`) });

function start(nodes: readonly Parameters<typeof nodeRecord>[1][], options: { pool?: string; inUse?: ReadonlyMap<Ipv4, Mac> } = {}) {
  const database = openDatabase(join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db'));
  const registry = new NodeStore(database);
  registry.add(nodes.map((change, index) => nodeRecord(`red${index}`, { macs: [client(index).mac], ...change })));
  const leases = new LeaseStore(database);
  const asked: Ipv4[] = [];
  const clock = new FakeClock();
  const book = new AddressBook({
    scopes: [{ subnet: parseSubnet('10.0.0.0/24'), pool: parseAddressRange(options.pool ?? '10.0.0.100-10.0.0.101'), dns: [] }],
    own: parseIpv4('10.0.0.1'),
    nodes: registry,
    leases,
    clock,
    log: pino({ level: 'silent' }),
    whoHas: (address) => {
      asked.push(address);
      return Promise.resolve(options.inUse?.get(address));
    },
  });
  const node = (index: number): Node => registry.require(parseNodeName(`red${index}`));
  const look = (index: number, message = discover) => book.look(message, client(index), node(index));
  return { book, leases, registry, asked, clock, node, look };
}

describe('conflict probe', () => {
  test('a new address of the pool is looked at once, then offered', async () => {
    const { book, look, asked } = start([{}]);
    const first = look(0);
    expect(first).toMatchObject({ isNew: true, needsProbe: true });
    await book.probe(first.address ?? parseIpv4('0.0.0.0'), client(0));
    expect(look(0)).toMatchObject({ address: first.address, needsProbe: false });
    expect(asked).toEqual([first.address]);
  });
  test('one that another machine uses is set aside for ten minutes', async () => {
    const inUse = new Map([[parseIpv4('10.0.0.100'), parseMac('525400000001')]]);
    const { book, look, clock } = start([{}], { pool: '10.0.0.100-10.0.0.100', inUse });
    await book.probe(parseIpv4('10.0.0.100'), client(0));
    expect(look(0).address).toBeUndefined();
    expect(book.setAside()).toEqual([{ address: '10.0.0.100', why: 'used by 52:54:00:00:00:01' }]);
    clock.after(601_000, () => {});
    await clock.run(() => false, 700_000);
    expect(look(0).address).toBe('10.0.0.100');
  });
  test('its own answer, from a system that still runs, is no conflict', async () => {
    const inUse = new Map([[parseIpv4('10.0.0.100'), client(0).mac]]);
    const { book, look } = start([{}], { pool: '10.0.0.100-10.0.0.100', inUse });
    await book.probe(parseIpv4('10.0.0.100'), client(0));
    expect(look(0)).toMatchObject({ address: '10.0.0.100', needsProbe: false });
  });
  test('neither what the operator wrote, nor what is on record, nor what is behind a relay is looked at', () => {
    const { look, leases, node } = start([{ address: parseIpv4('10.0.0.5') }, {}]);
    expect(look(0).needsProbe).toBeFalsy();
    expect(look(1, { ...discover, giaddr: parseIpv4('10.0.0.9') }).needsProbe).toBe(false);
    leases.keep(client(1).mac, parseIpv4('10.0.0.100'), node(1).name);
    expect(look(1).needsProbe).toBeFalsy();
  });
});

describe('who gets which address', () => {
  test('two clients at once are never offered the same one, and a third none', () => {
    const { book, look, node } = start([{}, {}, {}]);
    const given = [0, 1].map((index) => {
      const { address } = look(index);
      if (address) {
        void book.keep({ address, durable: false }, client(index), node(index));
      }
      return address;
    });
    expect(new Set(given)).toEqual(new Set(['10.0.0.100', '10.0.0.101']));
    expect(look(2).address).toBeUndefined();
  });
  test('the address that it asks for, when it is free', () => {
    const { look } = start([{}], { pool: '10.0.0.100-10.0.0.200' });
    expect(look(0, withOptions(discover, { 50: addressBytes(parseIpv4('10.0.0.177')) })).address).toBe('10.0.0.177');
  });
  test('a new address from the operator is for the next boot; the lease is told beside it', () => {
    const { look, leases, node } = start([{ address: parseIpv4('10.0.0.5') }]);
    leases.keep(client(0).mac, parseIpv4('10.0.0.100'), node(0).name);
    expect(look(0)).toMatchObject({ address: '10.0.0.5', current: '10.0.0.100' });
  });
  test('a board that replaces another has its address, unless that one still answers there', async () => {
    const [left, other] = [parseIpv4('10.0.0.177'), parseIpv4('10.0.0.178')];
    const { book, look, leases, registry, node } = start([{}], {
      pool: '10.0.0.100-10.0.0.200',
      inUse: new Map([[other, client(1).mac]]),
    });
    leases.keep(client(1).mac, left, node(0).name);
    expect(look(0)).toMatchObject({ address: left, needsProbe: true });
    await book.probe(left, client(0));
    expect(look(0)).toMatchObject({ address: left, needsProbe: false });
    await book.keep({ address: left, durable: true }, client(0), node(0));
    expect([leases.addressOf(client(1).mac), leases.addressesOf(node(0).name)]).toEqual([undefined, [left]]);
    registry.update(node(0).name, { macs: [client(2).mac] });
    leases.keep(client(1).mac, other, node(0).name);
    await book.probe(other, client(2));
    expect(book.look(discover, client(2), node(0)).address).toBe(left);
  });
  test('another interface of the same node is no board that is gone', () => {
    const { look, leases, node } = start([{ macs: [client(0).mac, client(1).mac] }], { pool: '10.0.0.100-10.0.0.200' });
    leases.keep(client(1).mac, parseIpv4('10.0.0.177'), node(0).name);
    expect(look(0).address).not.toBe('10.0.0.177');
  });
  test("an address written for one node is not given to another, nor this server's own", () => {
    const { look } = start([{ address: parseIpv4('10.0.0.2') }, {}], { pool: '10.0.0.1-10.0.0.3' });
    expect(look(1).address).toBe('10.0.0.3');
  });
});

describe('DECLINE', () => {
  test('the lease is given up and another address found', async () => {
    const { book, look, leases, node } = start([{}]);
    await book.keep({ address: parseIpv4('10.0.0.100'), durable: true }, client(0), node(0));
    book.decline(parseIpv4('10.0.0.100'), client(0));
    expect(leases.addressOf(client(0).mac)).toBeUndefined();
    expect(look(0).address).toBe('10.0.0.101');
  });
  test("nobody can decline another one's address", async () => {
    const { book, leases, node } = start([{}, {}]);
    await book.keep({ address: parseIpv4('10.0.0.100'), durable: true }, client(0), node(0));
    book.decline(parseIpv4('10.0.0.100'), client(1));
    expect(leases.addressOf(client(0).mac)).toBe('10.0.0.100');
    expect(book.setAside()).toEqual([]);
  });
  test('of an address that the operator wrote: silence with that reason', () => {
    const { book, look } = start([{ address: parseIpv4('10.0.0.5') }]);
    book.decline(parseIpv4('10.0.0.5'), client(0));
    expect(look(0)).toMatchObject({ isInUse: true });
    expect(look(0).address).toBeUndefined();
  });
});
