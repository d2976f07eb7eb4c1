import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DecodeError } from '#src/domain/errors.ts';
import { decodeTftp, encodeTftp, type TftpPacket } from '#src/protocol/tftp/packet.ts';

describe('packets of Raspberry Pi firmware', () => {
  const option = (name: string, value: string) => ({ name, value });
  test.each<[string, string, TftpPacket]>([
    ['ROM', '\0\u0001bootcode.bin\0octet\0', { kind: 'rrq', filename: 'bootcode.bin', mode: 'octet', options: [] }],
    [
      'bootcode.bin',
      '\0\u0001e1ffda08/start.elf\0octet\0tsize\x000\0',
      { kind: 'rrq', filename: 'e1ffda08/start.elf', mode: 'octet', options: [option('tsize', '0')] },
    ],
    [
      'EEPROM',
      '\0\u00019ffefdef/start4.elf\0octet\0tsize\x000\0blksize\x001468\0',
      { kind: 'rrq', filename: '9ffefdef/start4.elf', mode: 'octet', options: [option('tsize', '0'), option('blksize', '1468')] },
    ],
    ['OACK', '\0\u0006tsize\x006660\0', { kind: 'oack', options: [option('tsize', '6660')] }],
    ['abort', '\0\u0005\0\0Early terminate\0', { kind: 'error', code: 0, message: 'Early terminate' }],
  ])('%s', (_name, wire, packet) => {
    expect(decodeTftp(Buffer.from(wire, 'latin1'))).toEqual(packet);
    expect(encodeTftp(packet)).toEqual(Buffer.from(wire, 'latin1'));
  });
});

test('an error without a NUL is still an error', () => {
  expect(decodeTftp(Buffer.from([0, 5, 0, 8, 0x75]))).toEqual({ kind: 'error', code: 8, message: 'u' });
});

const text = fc.string({ unit: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code)), maxLength: 40 });
const options = fc.array(fc.record({ name: text, value: text }), { maxLength: 5 });
const packet: fc.Arbitrary<TftpPacket> = fc.oneof(
  fc.record({ kind: fc.constantFrom('rrq' as const, 'wrq' as const), filename: text, mode: text, options }),
  fc.record({
    kind: fc.constant('data' as const),
    block: fc.nat(65_535),
    data: fc.uint8Array({ maxLength: 600 }).map((array) => Buffer.from(array)),
  }),
  fc.record({ kind: fc.constant('ack' as const), block: fc.nat(65_535) }),
  fc.record({ kind: fc.constant('error' as const), code: fc.nat(65_535), message: text }),
  fc.record({ kind: fc.constant('oack' as const), options }),
);

describe('laws', () => {
  test('decode undoes encode', () => {
    fc.assert(
      fc.property(packet, (wanted) => {
        expect(decodeTftp(encodeTftp(wanted))).toEqual(wanted);
      }),
    );
  });
  test('random bytes decode or are refused with DecodeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (array) => {
        try {
          decodeTftp(Buffer.from(array));
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
        }
      }),
      { numRuns: 5000 },
    );
  });
  test('a text with a NUL cannot be written', () => {
    expect(() => encodeTftp({ kind: 'error', code: 0, message: 'a\0b' })).toThrow(RangeError);
  });
});
