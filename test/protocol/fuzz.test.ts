import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DecodeError } from '#src/domain/errors.ts';
import { readDatagram } from '#src/net/read-datagram.ts';
import { classifyClient } from '#src/policy/classify-client.ts';
import { readTftpPath } from '#src/policy/tftp-path.ts';
import { dissectDhcp } from '#src/protocol/dhcp/dissect.ts';
import { decodeDhcp, encodeDhcp } from '#src/protocol/dhcp/message.ts';
import { decodeTftp, encodeTftp } from '#src/protocol/tftp/packet.ts';
import { capture } from '../support/captures.ts';

const captures = readdirSync(new URL('../captures', import.meta.url))
  .filter((name) => name.endsWith('.hex'))
  .map((name) => capture(name.slice(0, -4)));
const requests = ['bootcode.bin', 'b66c4c16/start.elf', '../x'].flatMap((filename) => [
  encodeTftp({ kind: 'rrq', filename, mode: 'octet', options: [{ name: 'blksize', value: '1468' }] }),
  encodeTftp({ kind: 'oack', options: [{ name: 'tsize', value: '0' }] }),
  encodeTftp({ kind: 'error', code: 0, message: filename }),
]);

/** One change to a packet: bits flipped, bytes set, a part left out, doubled, or replaced. */
type Change = (bytes: Buffer) => Buffer;
const place = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
const noise = fc.uint8Array({ maxLength: 300 });
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.tuple(place, fc.nat(7)).map(
    ([at, bit]): Change =>
      (bytes) =>
        withByte(bytes, at, (byte) => byte ^ (1 << bit)),
  ),
  fc.tuple(place, fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)).map(
    ([at, value]): Change =>
      (bytes) =>
        withByte(bytes, at, () => value),
  ),
  place.map(
    (at): Change =>
      (bytes) =>
        bytes.subarray(0, Math.floor(at * bytes.length)),
  ),
  fc.tuple(place, place).map(
    ([a, b]): Change =>
      (bytes) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)].map((at) => Math.floor(at * bytes.length));
        return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)]);
      },
  ),
  fc.tuple(place, noise).map(
    ([at, inserted]): Change =>
      (bytes) => {
        const where = Math.floor(at * bytes.length);
        return Buffer.concat([bytes.subarray(0, where), inserted, bytes.subarray(where)]);
      },
  ),
);

function withByte(bytes: Buffer, at: number, next: (byte: number) => number): Buffer {
  const copy = Buffer.from(bytes);
  const index = Math.floor(at * bytes.length);
  if (index < copy.length) {
    copy[index] = next(copy[index] ?? 0);
  }
  return copy;
}

const mutated = (corpus: readonly Buffer[]): fc.Arbitrary<Buffer> =>
  fc
    .tuple(fc.constantFrom(...corpus), fc.array(change, { minLength: 1, maxLength: 5 }))
    .map(([packet, changes]) => changes.reduce((bytes, next) => next(bytes), packet));

/** What decodes must pass; what does not must be refused in the one way that servers expect. */
function reads<T>(decode: (bytes: Buffer) => T, bytes: Buffer, then: (value: T) => void): void {
  let value: T;
  try {
    value = decode(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(DecodeError);
    return;
  }
  then(value);
}

describe('mutated packets', () => {
  test('DHCP: read, told apart, shown, and written as they were; or refused', () => {
    fc.assert(
      fc.property(mutated(captures), (bytes) => {
        reads(decodeDhcp, bytes, (message) => {
          expect(encodeDhcp(message).equals(bytes)).toBe(true);
          classifyClient(message);
          expect(dissectDhcp(message).length).toBeGreaterThan(0);
        });
      }),
      { numRuns: 20_000 },
    );
  });
  test('TFTP: what is read says the same when it is written and read again; its path is a path or refused', () => {
    fc.assert(
      fc.property(mutated(requests), (bytes) => {
        reads(decodeTftp, bytes, (packet) => {
          expect(decodeTftp(encodeTftp(packet))).toEqual(packet);
          if (packet.kind === 'rrq') {
            const name = readTftpPath(packet.filename);
            expect(name.kind === 'refused' || !name.path.split('/').includes('..')).toBe(true);
          }
        });
      }),
      { numRuns: 20_000 },
    );
  });
  test('IPv4 and UDP headers: a datagram or nothing, never more bytes than there were', () => {
    const header = Buffer.from('4500002c00010000401100000a4e00420a4e000100440045001800000001', 'hex');
    const whole = Buffer.concat([header, Buffer.from('hello, world!!')]);
    fc.assert(
      fc.property(mutated([whole]), (bytes) => {
        expect((readDatagram(bytes)?.data.length ?? 0) <= bytes.length).toBe(true);
      }),
      { numRuns: 5000 },
    );
  });
});
