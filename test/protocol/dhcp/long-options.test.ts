import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DhcpMessage, decodeDhcp, encodeDhcp, optionOf, paddingFor } from '#src/protocol/dhcp/message.ts';
import { fitMessage, maxMessageBytes } from '#src/protocol/dhcp/overload.ts';
import { read } from '../../support/dhcp-messages.ts';

const base: DhcpMessage = { ...read('pi3-rom-discover'), options: [], padding: Buffer.alloc(0) };
const option = (code: number, data: Buffer | string) => ({ code, data: Buffer.from(data) });

describe('RFC 3396', () => {
  test('section 5: an option that comes more than once is one value, in the order of its parts', () => {
    const message = { ...base, options: [option(43, 'first '), option(60, 'x'), option(43, 'second')] };
    expect(optionOf(message, 43)?.toString()).toBe('first second');
  });
  test('section 5: its parts may go on in file, then sname', () => {
    const file = Buffer.from([43, 2, 0x63, 0x64, 255]);
    const sname = Buffer.from([43, 2, 0x65, 0x66, 255]);
    const message = { ...base, file, sname, options: [option(43, 'ab'), option(52, Buffer.from([3]))] };
    expect(optionOf(decodeDhcp(encodeDhcp(message)), 43)?.toString()).toBe('abcdef');
  });
  test('section 7: data of more than 255 bytes is sent in several parts, and read as it was', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1200 }), (array) => {
        const data = Buffer.from(array);
        const bytes = encodeDhcp({ ...base, options: [option(53, Buffer.from([5])), option(43, data)] });
        const read = decodeDhcp(bytes);
        expect(optionOf(read, 43)).toEqual(data);
        expect(read.options.every((part) => part.data.length <= 255)).toBe(true);
        expect(encodeDhcp(read)).toEqual(bytes);
      }),
    );
  });
  test('the padding counts the parts', () => {
    expect(paddingFor([option(43, Buffer.alloc(300))])).toHaveLength(0);
  });
});

describe('RFC 2132 section 9.3: option overload', () => {
  test.each([
    [1, 'file'],
    [2, 'sname'],
    [3, 'both'],
  ])('%i: %s', (overload) => {
    const file = Buffer.from([67, 1, 0x46, 0, 0, 255]);
    const sname = Buffer.from([66, 1, 0x53, 255]);
    const message = { ...base, file, sname, options: [option(52, Buffer.from([overload]))] };
    expect(optionOf(message, 67)?.toString()).toBe((overload & 1) === 0 ? undefined : 'F');
    expect(optionOf(message, 66)?.toString()).toBe((overload & 2) === 0 ? undefined : 'S');
  });
  test('an area without an end, or with an option that reaches beyond it, holds nothing', () => {
    for (const file of [Buffer.alloc(128), Buffer.from([67, 200, 1])]) {
      expect(optionOf({ ...base, file, options: [option(52, Buffer.from([1]))] }, 67)).toBeUndefined();
    }
  });
  test('whatever is moved there is read again, and the message fits', () => {
    const entry = fc.record({
      code: fc.integer({ min: 100, max: 200 }),
      data: fc.uint8Array({ maxLength: 90 }).map((array) => Buffer.from(array)),
    });
    const entries = fc.uniqueArray(entry, { selector: ({ code }) => code, maxLength: 14 });
    fc.assert(
      fc.property(entries, fc.boolean(), (options, usesFile) => {
        const message = {
          ...base,
          file: usesFile ? Buffer.from('boot') : Buffer.alloc(0),
          options: [option(53, Buffer.from([5])), ...options],
        };
        const bytes = encodeDhcp(fitMessage(message, 548));
        const again = decodeDhcp(bytes);
        for (const { code, data } of options) {
          expect(optionOf(again, code)).toEqual(data);
        }
        const free = (usesFile ? 0 : 127) + 63;
        const total = encodeDhcp(message).length;
        if (total <= 548) {
          expect(bytes).toEqual(encodeDhcp(message));
        } else if (total <= 548 + free - 200) {
          expect(bytes.length).toBeLessThanOrEqual(548);
        }
      }),
    );
  });
});

test('RFC 2132 section 9.10: how much a client takes, never less than RFC 2131 grants', () => {
  expect([undefined, Buffer.from([2, 64]), Buffer.from([5, 220]), Buffer.from([1])].map(maxMessageBytes)).toEqual([548, 548, 1472, 548]);
});
