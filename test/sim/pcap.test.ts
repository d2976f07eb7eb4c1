import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DecodeError } from '#src/domain/errors.ts';
import { broadcastMac, writeUdpFrame } from '#src/sim/frames.ts';
import { type CapturedFrame, readPcap } from '#src/sim/pcap.ts';
import { clientFrames, describeDatagram } from '#src/sim/replay.ts';
import { capture } from '../support/captures.ts';

function pcap(frames: readonly CapturedFrame[], isLittle = true): Buffer {
  const words = (...values: number[]): Buffer => {
    const bytes = Buffer.alloc(values.length * 4);
    for (const [index, value] of values.entries()) {
      isLittle ? bytes.writeUInt32LE(value, index * 4) : bytes.writeUInt32BE(value, index * 4);
    }
    return bytes;
  };
  const records = frames.flatMap(({ atMs, bytes }) => [
    words(1000 + Math.floor(atMs / 1000), (atMs % 1000) * 1000, bytes.length, bytes.length),
    bytes,
  ]);
  return Buffer.concat([words(0xa1b2c3d4, 0x00040002, 0, 0, 65_535, 1), ...records]);
}

function frame(sourcePort: number, destinationPort: number, data: Buffer): Buffer {
  const room = Buffer.alloc(2048);
  const header = {
    sourceMac: 0xb827eb6c4c16,
    destinationMac: broadcastMac,
    source: 0,
    destination: 0xffffffff,
    sourcePort,
    destinationPort,
  };
  return Buffer.from(room.subarray(0, writeUdpFrame(room, header, data)));
}

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
