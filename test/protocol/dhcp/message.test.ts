import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DecodeError } from '#src/domain/errors.ts';
import { ipv4FromNumber } from '#src/domain/ipv4.ts';
import { dissectDhcp } from '#src/protocol/dhcp/dissect.ts';
import { type DhcpMessage, decodeDhcp, encodeDhcp } from '#src/protocol/dhcp/message.ts';
import { raspberryPiMenu } from '#src/protocol/dhcp/pxe-vendor.ts';
import { capture, captureNames, provenance, rendering } from '../../support/captures.ts';

const captures = captureNames();

describe('golden captures', () => {
  test('there are some, each with provenance', () => {
    expect(captures.length).toBeGreaterThan(15);
    for (const name of captures) {
      expect(provenance(name), name).toMatch(/^# \S.{40}/);
    }
  });
  test.each(captures)('%s reads as its rendering says', (name) => {
    expect(dissectDhcp(decodeDhcp(capture(name)))).toBe(rendering(name));
  });
  test.each(captures)('%s encodes to the same bytes', (name) => {
    expect(encodeDhcp(decodeDhcp(capture(name))).toString('hex')).toBe(capture(name).toString('hex'));
  });
});

const address = fc.integer({ min: 0, max: 0xffffffff }).map(ipv4FromNumber);
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length }).map((array) => Buffer.from(array));
const option = fc.oneof(
  fc.constant({ code: 0, data: Buffer.alloc(0) }),
  fc.record({ code: fc.integer({ min: 1, max: 254 }), data: fc.uint8Array({ maxLength: 255 }).map((array) => Buffer.from(array)) }),
);
const message: fc.Arbitrary<DhcpMessage> = fc.record({
  op: fc.nat(255),
  htype: fc.nat(255),
  hlen: fc.nat(16),
  hops: fc.nat(255),
  xid: fc.nat(0xffffffff),
  secs: fc.nat(65_535),
  flags: fc.nat(65_535),
  ciaddr: address,
  yiaddr: address,
  siaddr: address,
  giaddr: address,
  chaddr: bytes(16),
  sname: bytes(64),
  file: bytes(128),
  options: fc.array(option, { maxLength: 20 }),
  padding: fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array)),
});

describe('laws', () => {
  test('decode undoes encode', () => {
    fc.assert(
      fc.property(message, (wanted) => {
        expect(decodeDhcp(encodeDhcp(wanted))).toEqual(wanted);
      }),
    );
  });
  test('random bytes and every prefix of a packet decode or are refused with DecodeError', () => {
    const refusesOrReads = (data: Buffer): void => {
      try {
        decodeDhcp(data);
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError);
      }
    };
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (array) => refusesOrReads(Buffer.from(array))),
      { numRuns: 2000 },
    );
    for (const name of captures) {
      const packet = capture(name);
      // U-Boot fills up to 300 bytes: a cut in there loses nothing.
      const needed = packet.length - decodeDhcp(packet).padding.length;
      for (let length = 0; length < needed; length += 1) {
        expect(() => decodeDhcp(packet.subarray(0, length))).toThrow(DecodeError);
      }
    }
  });
  test('what does not fit on the wire throws', () => {
    const base = decodeDhcp(capture('pi3-rom-discover'));
    expect(() => encodeDhcp({ ...base, file: Buffer.alloc(129) })).toThrow(RangeError);
    expect(() => encodeDhcp({ ...base, sname: Buffer.alloc(65) })).toThrow(RangeError);
  });
});

test('the menu for Raspberry Pis is, byte for byte, the one with three spaces', () => {
  const want = '06 01 03 0a 04 00 50 58 45 09 17 00 00 14 52 61 73 70 62 65 72 72 79 20 50 69 20 42 6f 6f 74 20 20 20 ff';
  expect(raspberryPiMenu().toString('hex')).toBe(want.replaceAll(' ', ''));
});
