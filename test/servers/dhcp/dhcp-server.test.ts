import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { limitedBroadcast } from '#src/domain/ipv4.ts';
import { capture } from '../../support/captures.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { MemoryNetwork } from '../../support/memory-network.ts';
import { anyAddress, startDhcp } from '../../support/servers.ts';

async function ask(network: MemoryNetwork, packet: Buffer): Promise<{ at: number; data: Buffer }[]> {
  const heard: { at: number; data: Buffer }[] = [];
  const client = network.open(anyAddress, 68, (data) => heard.push({ at: network.clock.now(), data }));
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
  test('an unknown board: nothing, but it is reported', async () => {
    const network = new MemoryNetwork(new FakeClock());
    const dhcp = startDhcp(network, 'full', false);
    expect(await ask(network, capture('pi4-eeprom-discover'))).toEqual([]);
    expect(dhcp.reports).toMatchObject([{ client: { serial: '91cdf03d' }, decision: { kind: 'silence', reason: 'unknown-node' } }]);
  });
});

test('mutated packets never bring the server down, and it still answers afterwards', async () => {
  const network = new MemoryNetwork(new FakeClock());
  const dhcp = startDhcp(network, 'full');
  const client = network.open(anyAddress, 68, () => {});
  const packets = ['pi3-rom-discover', 'pi3-bootcode-discover', 'pi4-eeprom-discover', 'ipxe-discover'].map(capture);
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
