import { describe, expect, test } from 'vitest';
import { parseBandwidth, parseBytes, parseMilliseconds, parseShare, readPlan, type SimFlags } from '#src/cli/sim/sim-options.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { DelayLine, fates, noFaults, TokenBucket } from '#src/sim/faults.ts';
import { checksum, readArp, readIp, writeArpFrame, writeUdpFrame } from '#src/sim/frames.ts';
import { boardIdentities } from '#src/sim/identities.ts';
import { findModel, modelNames } from '#src/sim/models.ts';
import { StoppableClock } from '#src/sim/stoppable-clock.ts';
import { TcpClient } from '#src/sim/tcp-client.ts';
import { FakeClock } from '../support/fake-clock.ts';

test('a clock that is stopped fires nothing any more', async () => {
  const inner = new FakeClock();
  const clock = new StoppableClock(inner);
  const fired: string[] = [];
  clock.after(1, () => fired.push('before'));
  await inner.run(() => fired.length > 0);
  clock.after(5, () => fired.push('after'));
  clock[Symbol.dispose]();
  clock.after(1, () => fired.push('later'));
  expect(inner.pending).toBe(0);
  expect(fired).toEqual(['before']);
});

describe('frames', () => {
  const room = Buffer.alloc(2048);
  test('UDP: header check sum is right, short frames are padded, content is where the header says', () => {
    const header = {
      sourceMac: 1,
      destinationMac: 2,
      source: 0x0a000005,
      destination: 0x0a000001,
      sourcePort: 49_152,
      destinationPort: 69,
    };
    const length = writeUdpFrame(room, header, Buffer.from('abc'));
    const frame = room.subarray(0, length);
    expect(length).toBe(60);
    expect(checksum(frame, 14, 34, 0)).toBe(0);
    const ip = readIp(frame);
    expect(ip).toMatchObject({ protocol: 17 });
    expect(frame.toString('latin1', (ip?.at ?? 0) + 8, ip?.end)).toBe('abc');
  });
  test('ARP: what is written is read', () => {
    const arp = { operation: 2, senderMac: 0xb827eb000001, sender: 0x0a000005, targetMac: 7, target: 0x0a000001 } as const;
    expect(readArp(room.subarray(0, writeArpFrame(room, arp)))).toEqual(arp);
  });
  test.each([
    ['too short', (frame: Buffer) => frame.subarray(0, 30)],
    ['another version', (frame: Buffer) => Buffer.from(frame).fill(0x65, 14, 15)],
    ['a fragment', (frame: Buffer) => Buffer.from(frame).fill(0x20, 20, 21)],
    ['longer than the frame', (frame: Buffer) => Buffer.from(frame).fill(0xff, 16, 17)],
  ])('IP that is %s is passed over', (_name, change) => {
    const header = { sourceMac: 1, destinationMac: 2, source: 3, destination: 4, sourcePort: 5, destinationPort: 6 };
    expect(readIp(change(room.subarray(0, writeUdpFrame(room, header, Buffer.from('abc')))))).toBeUndefined();
  });
});

describe('faults', () => {
  const count = 20_000;
  test('come as often as asked, and the same for the same seed', () => {
    const faults = { ...noFaults, loss: 0.1, dup: 0.05, reorder: 0.2, latencyMs: 2 };
    const run = (seed: number): readonly number[][] => {
      const next = fates(faults, seed);
      return Array.from({ length: count }, () => [...next().delaysMs]);
    };
    const all = run(7);
    expect(run(7)).toEqual(all);
    expect(run(8)).not.toEqual(all);
    expect(all.filter((delays) => delays.length === 0).length / count).toBeCloseTo(0.1, 1);
    expect(all.filter((delays) => delays.length === 2).length / count).toBeCloseTo(0.045, 1);
    expect(all.filter(([first]) => first !== undefined && first > 2).length / count).toBeCloseTo(0.18, 1);
  });
  test('frames arrive in the order of their times, equal ones in the order in which they were sent', () => {
    const line = new DelayLine();
    const seen: string[] = [];
    for (const [due, name] of [
      [5, 'late'],
      [1, 'a'],
      [1, 'b'],
      [3, 'c'],
    ] as const) {
      line.add(due, () => seen.push(name));
    }
    expect(line.next).toBe(1);
    expect(line.deliverDue(3)).toBe(3);
    expect(seen).toEqual(['a', 'b', 'c']);
    expect(line.deliverDue(5)).toBe(1);
    expect(line.next).toBeUndefined();
  });
  test('a link carries its rate and no more', () => {
    const bucket = new TokenBucket(8_000_000, 0);
    let carried = 0;
    for (let now = 0; now < 1000; now += 0.5) {
      while (bucket.mayPass(now)) {
        bucket.pay(1500);
        carried += 1500;
      }
    }
    expect(carried).toBeGreaterThan(990_000);
    expect(carried).toBeLessThan(1_010_000);
  });
});

describe('the small TCP', () => {
  function connection(): { client: TcpClient; sent: Buffer[]; got: () => string; ends: (Error | undefined)[]; clock: FakeClock } {
    const clock = new FakeClock();
    const sent: Buffer[] = [];
    let text = '';
    const ends: (Error | undefined)[] = [];
    const client = new TcpClient({
      clock,
      addresses: { sourceMac: 1, destinationMac: 2, source: 0x0a000005, destination: 0x0a000001 },
      sourcePort: 49_152,
      destinationPort: 80,
      transmit: (write) => {
        const room = Buffer.alloc(2048);
        sent.push(room.subarray(34, write(room)));
        return 1;
      },
      onClosed: () => undefined,
      onData: (data) => {
        text += data.toString();
      },
      onEnd: (error) => ends.push(error),
    });
    return { client, sent, got: () => text, ends, clock };
  }
  const segment = (flags: number, sequence: number, data = ''): Buffer => {
    const bytes = Buffer.alloc(20);
    bytes.writeUInt32BE(sequence >>> 0, 4);
    bytes.writeUInt32BE(1, 8);
    bytes.writeUInt16BE((5 << 12) | flags, 12);
    return Buffer.concat([bytes, Buffer.from(data)]);
  };
  const acknowledged = (sent: readonly Buffer[]): number | undefined => sent.at(-1)?.readUInt32BE(8);
  test('puts segments in order, past the roll-over of sequence numbers, each byte once', async () => {
    const { client, sent, got, ends } = connection();
    const start = 0xfffffffe;
    client.receive(segment(18, start));
    await client.connected;
    client.receive(segment(16, start + 4, 'defg'));
    expect(got()).toBe('');
    expect(acknowledged(sent)).toBe(0xffffffff);
    client.receive(segment(16, start + 1, 'abc'));
    client.receive(segment(16, start + 1, 'abcdef'));
    client.receive(segment(17, start + 8, 'hi'));
    expect(got()).toBe('abcdefghi');
    expect(ends).toEqual([undefined]);
    expect(acknowledged(sent)).toBe((start + 11) >>> 0);
  });
  test('asks again when SYN is lost, and gives up on silence', async () => {
    const { client, sent, clock } = connection();
    let failure: unknown;
    client.connected.catch((error: unknown) => {
      failure = error;
    });
    await clock.run(() => failure !== undefined);
    expect(sent.length).toBe(6);
    expect(String(failure)).toMatch(/does not answer/);
  });
});

describe('who the boards are', () => {
  test.each(modelNames)('%s: all different, the same for the same seed', (name) => {
    const options = { model: findModel(name), count: 300, seed: 3 };
    const boards = boardIdentities(options);
    expect(new Set(boards.map(({ mac }) => mac)).size).toBe(300);
    expect(boardIdentities(options)).toEqual(boards);
    expect(boardIdentities({ ...options, seed: 4 })).not.toEqual(boards);
  });
  test('up to the 3B+, the MAC ends as the serial does', () => {
    const boards = boardIdentities({ model: findModel('pi3b'), count: 2, seed: 1, firstSerial: parseSerial('b66c4c16') });
    expect(boards).toEqual([
      { serial: 'b66c4c16', mac: 'b8:27:eb:6c:4c:16' },
      { serial: 'b66c4c17', mac: 'b8:27:eb:6c:4c:17' },
    ]);
  });
});

describe('flags of cardless sim', () => {
  const flags: SimFlags = { model: 'pi4', count: '1', mode: 'full', loss: '0', dup: '0', reorder: '0', latency: '0', seed: '1' };
  test('units', () => {
    expect(parseShare('--loss', '1%')).toBe(0.01);
    expect(parseShare('--loss', '0.5')).toBe(0.5);
    expect(parseMilliseconds('--latency', '2ms')).toBe(2);
    expect(parseMilliseconds('--latency', '1.5s')).toBe(1500);
    expect(parseBandwidth('100mbit')).toBe(1e8);
    expect(parseBytes('--boot-bytes', '40M')).toBe(40_000_000);
  });
  test.each<[string, Partial<SimFlags>, RegExp]>([
    ['a model that does not exist', { model: 'pi9' }, /There is no simulated model "pi9"/],
    ['everything lost', { loss: '100%' }, /is not a share/],
    ['a rate without unit', { bandwidth: '1000' }, /is not a rate/],
    ['a serial for many', { count: '2', serial: '91cdf03d' }, /are for a single board/],
    ['the serial of a Pi for a PC', { model: 'ipxe', serial: '91cdf03d' }, /is not a serial of a PC/],
    ['no boards', { count: '0' }, /0 boards cannot be played/],
    ['lab and interface', { lab: true, interface: 'eth0' }, /--lab would have no effect: --interface plays/],
    ['an unknown mode', { mode: 'off' }, /is not a mode of the lab/],
    ['files of many boards', { count: '2', out: '/tmp/x' }, /--out is for a single Raspberry Pi/],
  ])('refused: %s', (_name, change, message) => {
    expect(() => readPlan({ ...flags, ...change })).toThrow(message);
  });
});
