import fc from 'fast-check';
import { expect, test } from 'vitest';
import { UserError } from '#src/domain/errors.ts';
import type { Vitals } from '#src/domain/vitals.ts';
import { readVitals } from '#src/servers/http/vitals-face.ts';

const count = fc.maxSafeNat();
const disk = fc.record({ usedBytes: count, availableBytes: count });
const use = fc.record({ receivedBytes: count, receivedPackets: count, sentBytes: count, sentPackets: count });
const tenths = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min: min * 10, max: max * 10 }).map((n) => n / 10);
const vitals: fc.Arbitrary<Vitals> = fc.record(
  {
    hostname: fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/),
    uptimeSeconds: count,
    load: fc.tuple(tenths(0, 900), tenths(0, 900), tenths(0, 900)),
    cpu: fc.array(fc.option(fc.integer({ min: 0, max: 100 })), { maxLength: 256 }),
    memory: fc.record({ totalBytes: count, availableBytes: count }),
    frequencyMHz: fc.nat(6000),
    temperatureCelsius: tenths(-40, 110),
    throttled: fc.record({ from: fc.constantFrom('firmware' as const, 'hwmon' as const), bits: fc.nat(0xf_ffff) }),
    disks: fc.record({ root: disk, overlay: disk, data: disk }, { requiredKeys: [] }),
    network: fc.dictionary(fc.stringMatching(/^[a-z][a-z0-9._-]{0,14}$/), use, { maxKeys: 16, noNullPrototype: true }),
  },
  { requiredKeys: [] },
);

test('what an agent can say is understood as it was said', () => {
  fc.assert(
    fc.property(vitals, (said) => {
      expect(readVitals(JSON.parse(JSON.stringify(said)))).toEqual(said);
    }),
  );
});

test('any JSON is understood or refused, and what is understood has only known keys and finite numbers', () => {
  const key = fc.constantFrom(
    'cpu',
    'load',
    'memory',
    'disks',
    'network',
    'throttled',
    'hostname',
    'usedBytes',
    'bits',
    'from',
    '__proto__',
  );
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom(null, true, -1, 0.5, 1e308, -0, 2 ** 53, 'hwmon', '', 'x'.repeat(300)),
      fc.array(tie('value'), { maxLength: 5 }),
      fc.dictionary(key, tie('value'), { maxKeys: 5 }),
    ),
  }));
  const isSound = (item: unknown): boolean =>
    typeof item === 'number'
      ? Number.isFinite(item)
      : typeof item !== 'object' || item === null || (Object.getPrototypeOf(item) !== undefined && Object.values(item).every(isSound));
  fc.assert(
    fc.property(
      fc.oneof(
        value,
        fc.tuple(vitals, fc.dictionary(key, value)).map(([said, more]) => ({ ...said, ...more })),
      ),
      (said) => {
        let read: Vitals | undefined;
        try {
          read = readVitals(JSON.parse(JSON.stringify(said)));
        } catch (error) {
          expect(error).toBeInstanceOf(UserError);
          return;
        }
        expect(isSound(read)).toBe(true);
        expect(JSON.stringify(read)).not.toContain('__proto__');
      },
    ),
    { numRuns: 1000 },
  );
});

test.each<[string, unknown]>([
  ['nothing', undefined],
  ['a list', []],
  ['a number that JSON has and JavaScript has not', JSON.parse('{"uptimeSeconds":1e999}')],
  ['a counter below zero', { memory: { totalBytes: -1, availableBytes: 0 } }],
  ['half a byte', { memory: { totalBytes: 1.5, availableBytes: 0 } }],
  ['a busier core than there can be', { cpu: [101] }],
  ['more cores than there can be', { cpu: Array.from({ length: 1025 }, () => 0) }],
  ['control characters in a name', { hostname: 'red5\u001b[2J' }],
  ['an interface that is no name', { network: { 'eth0"': { receivedBytes: 0, receivedPackets: 0, sentBytes: 0, sentPackets: 0 } } }],
  [
    'too many interfaces',
    {
      network: Object.fromEntries(
        Array.from({ length: 17 }, (_, index) => [`e${index}`, { receivedBytes: 0, receivedPackets: 0, sentBytes: 0, sentPackets: 0 }]),
      ),
    },
  ],
])('%s is refused', (_what, said) => {
  expect(() => readVitals(said)).toThrow(/no vitals/);
});

test('what a later agent says besides is dropped', () => {
  expect(readVitals({ uptimeSeconds: 5, fan: 'fast', disks: { root: { usedBytes: 1, availableBytes: 2, inodes: 3 }, swap: 1 } })).toEqual({
    uptimeSeconds: 5,
    disks: { root: { usedBytes: 1, availableBytes: 2 } },
  });
  expect(readVitals(JSON.parse('{"network":{"__proto__":{"receivedBytes":0}}}'))).toEqual({ network: {} });
});
