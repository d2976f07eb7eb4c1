import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readDatagram } from '#src/net/read-datagram.ts';

/** IP 10.0.0.1:67 -> 10.0.0.15:68, "hello", then a byte of Ethernet padding. */
const packet = Buffer.from('45000021000040004011000 00a0000010a00000f00430044000d000068656c6c6f00'.replaceAll(' ', ''), 'hex');

describe('a UDP datagram in an IPv4 packet', () => {
  test('is read with its sender, without padding', () => {
    expect(readDatagram(packet)).toEqual({ port: 68, data: Buffer.from('hello'), peer: { address: '10.0.0.1', port: 67 } });
  });
  test.each<[string, number, number]>([
    ['IPv6', 0, 0x65],
    ['TCP', 9, 6],
    ['a fragment', 7, 8],
    ['a header that is too short', 0, 0x44],
    ['a length beyond the packet', 25, 0xff],
  ])('%s is none', (_name, at, value) => {
    const other = Buffer.from(packet);
    other[at] = value;
    expect(readDatagram(other)).toBeUndefined();
  });
  test('no bytes make it throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        readDatagram(Buffer.from(bytes));
        readDatagram(Buffer.concat([packet.subarray(0, 20), Buffer.from(bytes)]));
      }),
    );
  });
});
