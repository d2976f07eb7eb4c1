import fc from 'fast-check';
import { expect, test } from 'vitest';
import { foldRange } from '#src/domain/fold-range.ts';
import { expandNames } from '#src/policy/node-set.ts';

test.each([
  [[], ''],
  [['red1'], 'red1'],
  [['server'], 'server'],
  [['red3', 'red1', 'red2', 'red1'], 'red[1-3]'],
  [['red1', 'red3', 'red10', 'red11'], 'red[1,3,10-11]'],
  [['red098', 'red099', 'red100', 'red101'], 'red[098-101]'],
  [['red7', 'red07', 'red8'], 'red[7-8,07]'],
  [['r1-n1', 'r1-n2', 'r2-n1'], 'r1-n[1-2],r2-n1'],
  [['red1-eth', 'red2-eth'], 'red[1-2]-eth'],
  [['server', 'blue2', 'blue1'], 'blue[1-2],server'],
  [['x99999999999999999999'], 'x99999999999999999999'],
])('%j is %s', (names, folded) => {
  expect(foldRange(names)).toBe(folded);
});

const word = fc.stringMatching(/^[a-z]{1,3}$/);
const digits = fc.oneof(
  fc.nat(30).map(String),
  fc.nat(1200).map((value) => String(value).padStart(3, '0')),
  fc.constantFrom('0', '00', '9', '10', '99', '100'),
);
const name = fc.oneof(
  word,
  fc.tuple(word, digits).map(([head, number]) => `${head}${number}`),
  fc.tuple(word, digits, word, digits).map(([head, rack, middle, number]) => `${head}${rack}${middle}${number}`),
  fc.tuple(digits, word).map(([number, tail]) => `${number}${tail}`),
);

test('what was folded expands to the same names, each once', () => {
  fc.assert(
    fc.property(fc.array(name, { minLength: 1, maxLength: 80 }), (names) => {
      const back = expandNames(foldRange(names));
      expect(back.toSorted()).toEqual([...new Set(names)].toSorted());
    }),
  );
});

test('neighbours are always in one range, and the order of names does not matter', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(60), { minLength: 1 }), (numbers) => {
      const runs = numbers.filter((value) => !numbers.includes(value + 1)).length;
      const folded = foldRange(numbers.map((value) => `red${value}`));
      expect(folded.replace(/^red\[?/, '').split(',')).toHaveLength(runs);
      expect(foldRange(numbers.toReversed().map((value) => `red${value}`))).toBe(folded);
    }),
  );
});

test('more names than one bracket may hold become several brackets', () => {
  const names = Array.from({ length: 10_000 }, (_, index) => `red${index * (index % 3 === 0 ? 1 : 2)}`);
  expect(expandNames(foldRange(names)).toSorted()).toEqual([...new Set(names)].toSorted());
});
