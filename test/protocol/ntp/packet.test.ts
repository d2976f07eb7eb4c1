import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DecodeError } from '#src/domain/errors.ts';
import { decodeNtpRequest, encodeNtpReply, type NtpReply } from '#src/protocol/ntp/packet.ts';

const reply: NtpReply = {
  version: 4,
  leap: 0,
  stratum: 3,
  poll: 6,
  precision: -10,
  rootDelaySeconds: 0.5,
  rootDispersionSeconds: 1.25,
  referenceId: Buffer.from([192, 0, 2, 1]),
  referenceMs: 0,
  origin: Buffer.from('0123456789abcdef', 'hex'),
  receiveMs: 1_000_000_000_500,
  transmitMs: 1_000_000_000_750,
};

test('a reply, byte by byte', () => {
  expect(encodeNtpReply(reply).toString('hex')).toBe(
    [
      '240306f6', // no leap second, version 4, server; stratum 3; poll 2^6; 2^-10 s
      '00008000', // half a second
      '00014000',
      'c0000201',
      '83aa7e8000000000', // 1970
      '0123456789abcdef',
      'bf45488080000000', // 2001-09-09T01:46:40.5
      'bf454880c0000000',
    ].join(''),
  );
});

test('the seconds begin again in 2036, as the protocol wants it', () => {
  const at = encodeNtpReply({ ...reply, transmitMs: (2 ** 32 - 2_208_988_800 + 5) * 1000 });
  expect(at.readUInt32BE(40)).toBe(5);
});

test('a question as ntpd 4.2 and timesyncd ask it; a signature behind it is no hindrance', () => {
  const bytes = Buffer.alloc(48);
  bytes.writeUInt8(0x23, 0);
  bytes.writeInt8(-6, 2);
  bytes.write('0123456789abcdef', 40, 'hex');
  const want = { version: 4, mode: 3, poll: -6, transmit: Buffer.from('0123456789abcdef', 'hex') };
  expect(decodeNtpRequest(bytes)).toEqual(want);
  expect(decodeNtpRequest(Buffer.concat([bytes, Buffer.alloc(20)]))).toEqual(want);
});

test('any bytes are read or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (noise) => {
      const bytes = Buffer.from(noise);
      if (bytes.length < 48) {
        expect(() => decodeNtpRequest(bytes)).toThrow(DecodeError);
      } else {
        const { version, poll, transmit } = decodeNtpRequest(bytes);
        expect(encodeNtpReply({ ...reply, version, poll, origin: transmit })).toHaveLength(48);
      }
    }),
  );
});
