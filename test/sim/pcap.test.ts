import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DecodeError } from '#src/domain/errors.ts';
import { readPcap } from '#src/sim/pcap.ts';
import { clientFrames, describeDatagram } from '#src/sim/replay.ts';
import { capture } from '../support/captures.ts';
import { clientFrame as frame, pcap } from '../support/pcap.ts';

describe('pcap files', () => {
  test.each([true, false])('frames and their times, little endian %s', (isLittle) => {
    const frames = [
      { atMs: 0, bytes: Buffer.from('one') },
      { atMs: 2500, bytes: Buffer.from('three') },
    ];
    expect(readPcap(pcap(frames, isLittle))).toEqual(frames);
  });
  test('every prefix is either frames or a DecodeError', () => {
    const whole = pcap([{ atMs: 0, bytes: Buffer.from('abcdef') }]);
    for (let length = 0; length < whole.length; length += 1) {
      try {
        readPcap(whole.subarray(0, length));
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError);
      }
    }
  });
  test('random bytes are a DecodeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(() => readPcap(Buffer.from(bytes))).toThrow(DecodeError);
      }),
    );
  });
});

describe('what of a capture is sent again', () => {
  const discover = frame(68, 67, capture('pi3-bootcode-discover'));
  test('requests of clients, not the answers of servers nor acknowledgements', () => {
    const request = frame(49_152, 69, Buffer.from('\0\u0001bootcode.bin\0octet\0', 'latin1'));
    const all = [discover, frame(67, 68, Buffer.alloc(300)), request, frame(49_152, 50_001, Buffer.from([0, 4, 0, 1]))];
    expect(clientFrames(all.map((bytes) => ({ atMs: 0, bytes }))).map(({ bytes }) => bytes)).toEqual([discover, request]);
  });
  test('is told in a line', () => {
    expect(describeDatagram(discover)).toMatch(/^0\.0\.0\.0:68 > 255\.255\.255\.255:67 DHCP DISCOVER for b8:27:eb:.*, 322 bytes$/);
    expect(describeDatagram(frame(5000, 69, Buffer.from('\0\u0001a/b\0octet\0', 'latin1')))).toContain('TFTP RRQ a/b octet');
  });
});
