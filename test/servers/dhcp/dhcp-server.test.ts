import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Ipv4, limitedBroadcast, parseIpv4 } from '#src/domain/ipv4.ts';
import { decodeDhcp, optionOf } from '#src/protocol/dhcp/message.ts';
import { capture, captureNames } from '../../support/captures.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { MemoryNetwork } from '../../support/memory-network.ts';
import { anyAddress, boardAddress, serverAddress, startDhcp } from '../../support/servers.ts';

async function ask(network: MemoryNetwork, packet: Buffer, port = 68): Promise<{ at: number; data: Buffer }[]> {
  const heard: { at: number; data: Buffer }[] = [];
  const client = network.open(anyAddress, port, (data) => heard.push({ at: network.clock.now(), data }));
  client.send(packet, { address: limitedBroadcast, port: 67 });
  await network.clock.run(() => false, 5000);
  await client.close();
  return heard;
}

describe('what a board hears', () => {
  test('bootcode.bin: one offer, at once', async () => {
    const network = new MemoryNetwork(new FakeClock());
    startDhcp(network, 'full');
    const heard = await ask(network, capture('pi3-bootcode-discover'));
    expect(heard.map(({ at }) => at)).toEqual([2]);
    expect(heard[0]?.data.subarray(16, 20)).toEqual(Buffer.from([10, 77, 0, 20]));
  });
  test('the mask ROM of a 3B: the same offer three times', async () => {
    const network = new MemoryNetwork(new FakeClock());
    startDhcp(network, 'full');
    const heard = await ask(network, capture('pi3-rom-discover'));
    expect(heard.map(({ at }) => at)).toEqual([2, 602, 1202]);
    expect(new Set(heard.map(({ data }) => data.toString('hex'))).size).toBe(1);
  });
  test.each([4011, 1068])('from port %i, which any user may send from: nothing, and nobody is looked up', async (port) => {
    const network = new MemoryNetwork(new FakeClock());
    const dhcp = startDhcp(network, 'full');
    expect(await ask(network, capture('pi4-eeprom-discover'), port)).toEqual([]);
    expect([dhcp.reports, dhcp.bad]).toEqual([[], [`source port is ${port}`]]);
  });
  test('a datagram far beyond what firmware sends is not read', async () => {
    const network = new MemoryNetwork(new FakeClock());
    const dhcp = startDhcp(network, 'full');
    const discover = capture('pi4-eeprom-discover');
    expect(await ask(network, Buffer.concat([discover, Buffer.alloc(60_000)]))).toEqual([]);
    expect(dhcp.bad).toHaveLength(1);
  });
  test('an unknown board: nothing, but it is reported', async () => {
    const network = new MemoryNetwork(new FakeClock());
    const dhcp = startDhcp(network, 'full', false);
    expect(await ask(network, capture('pi4-eeprom-discover'))).toEqual([]);
    expect(dhcp.reports).toMatchObject([{ client: { serial: '91cdf03d' }, decision: { kind: 'silence', reason: 'unknown-node' } }]);
  });
});

describe('what is promised is on disk first', () => {
  test('the reply waits for the lease', async () => {
    const network = new MemoryNetwork(new FakeClock());
    const { promise, resolve } = Promise.withResolvers<void>();
    startDhcp(network, 'full', true, { keep: () => promise });
    network.clock.after(700, resolve);
    const heard = await ask(network, capture('pi3-bootcode-discover'));
    expect(heard.map(({ at }) => at >= 700)).toEqual([true]);
  });
  test('a lease that cannot be stored is not given, and that is told', async () => {
    const network = new MemoryNetwork(new FakeClock());
    const dhcp = startDhcp(network, 'full', true, { keep: () => Promise.reject(new Error('disk full')) });
    expect(await ask(network, capture('pi3-bootcode-discover'))).toEqual([]);
    expect(dhcp.failures).toMatchObject([{ message: 'disk full' }]);
  });
  test('a new address is looked at before it is offered, the next one when it is used, and not for ever', async () => {
    const network = new MemoryNetwork(new FakeClock());
    const probed: string[] = [];
    const free = parseIpv4('10.77.0.22');
    const next = (): Ipv4 => parseIpv4(`10.77.0.${20 + probed.length}`);
    startDhcp(network, 'full', true, {
      look: () => ({ address: next(), needsProbe: next() !== free }),
      probe: (address) => Promise.resolve(void probed.push(address)),
    });
    const heard = await ask(network, capture('pi4-eeprom-discover'));
    expect(probed).toEqual(['10.77.0.20', '10.77.0.21']);
    expect(heard.map(({ data }) => data.subarray(16, 20).join('.'))).toEqual(['10.77.0.22']);
    const full = new MemoryNetwork(new FakeClock());
    const again: string[] = [];
    startDhcp(full, 'full', true, {
      look: () => ({ address: boardAddress, needsProbe: true }),
      probe: (address) => Promise.resolve(void again.push(address)),
    });
    expect(await ask(full, capture('pi4-eeprom-discover'))).toEqual([]);
    expect(again).toHaveLength(8);
  });
});

describe('firmware that says less the second time', () => {
  test('the ACK to a Pi 4 carries what its OFFER did (rpi-eeprom#82)', async () => {
    const network = new MemoryNetwork(new FakeClock());
    startDhcp(network, 'full');
    const [offer] = await ask(network, capture('pi4-eeprom-discover'));
    const [ack] = await ask(network, capture('pi4-request'));
    const bootOptions = (data: Buffer | undefined): (string | undefined)[] =>
      [43, 60, 66].map((code) => (data ? optionOf(decodeDhcp(data), code)?.toString('hex') : undefined));
    expect(bootOptions(offer?.data)[0]).toContain(Buffer.from('Raspberry Pi Boot').toString('hex'));
    expect(bootOptions(ack?.data)).toEqual(bootOptions(offer?.data));
  });
});

describe('the mask ROM of a 3B in mode proxy', () => {
  test('a frame that says nothing at 0.6 s, the offer at 1.2 s and 2.2 s', async () => {
    const network = new MemoryNetwork(new FakeClock());
    startDhcp(network, 'proxy');
    const nudges: number[] = [];
    network.open(anyAddress, 9, (data) => nudges.push(network.clock.now() + data.length));
    const heard = await ask(network, capture('pi3-rom-discover'));
    expect(heard.map(({ at }) => at)).toEqual([1202, 2202]);
    expect(nudges).toEqual([602]);
  });
});

describe('port 4011', () => {
  test('the answer comes from there, back to where the question came from', async () => {
    const network = new MemoryNetwork(new FakeClock());
    startDhcp(network, 'proxy');
    const heard: { port: number; file: string }[] = [];
    // EDK2 asks from port 4011 and listens there.
    const client = network.open(parseIpv4('10.91.0.134'), 4011, (data, peer) =>
      heard.push({ port: peer.port, file: decodeDhcp(data).file.toString('latin1').replaceAll('\0', '') }),
    );
    client.send(capture('uefi-x64-request-4011'), { address: serverAddress, port: 4011 });
    await network.clock.run(() => false, 1000);
    expect(heard).toMatchObject([{ port: 4011, file: expect.stringMatching(/./) }]);
  });
});

test('mutated packets never bring the server down, and it still answers afterwards', async () => {
  const network = new MemoryNetwork(new FakeClock());
  const dhcp = startDhcp(network, 'full');
  const client = network.open(anyAddress, 68, () => {});
  const packets = captureNames().map(capture);
  fc.assert(
    fc.property(
      fc.constantFrom(...packets),
      fc.array(fc.tuple(fc.nat(399), fc.nat(255)), { maxLength: 12 }),
      fc.nat(400),
      (packet, changes, length) => {
        const mutated = Buffer.from(packet.subarray(0, Math.max(length, 1)));
        for (const [at, value] of changes) {
          mutated[at % mutated.length] = value;
        }
        client.send(mutated, { address: limitedBroadcast, port: 67 });
      },
    ),
    { numRuns: 3000 },
  );
  await network.clock.run(() => false, 5000);
  expect(dhcp.bad.length).toBeGreaterThan(100);
  expect(await ask(network, capture('pi3-bootcode-discover'))).toHaveLength(1);
});
