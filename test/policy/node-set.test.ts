import { expect, test } from 'vitest';
import { expandNames, type SetFacts, selectNodes } from '#src/policy/node-set.ts';

const member = (name: string, groups: string[] = [], labels: Record<string, string> = {}) => ({ name, groups, labels });
const facts: SetFacts = {
  members: [
    member('blue1', ['lab'], { rack: 'a' }),
    member('red1', ['workers', 'lab'], { rack: 'a' }),
    member('red2', ['workers', 'lab'], { rack: 'b' }),
    member('red10', ['workers2']),
  ],
  groups: ['lab', 'workers', 'workers2'],
};

test.each([
  ['red2', ['red2']],
  ['red[1-2]', ['red1', 'red2']],
  ['red[1,10],blue1', ['blue1', 'red1', 'red10']],
  ['@all', ['blue1', 'red1', 'red2', 'red10']],
  ['@lab', ['blue1', 'red1', 'red2']],
  ['@lab,-@workers', ['blue1']],
  ['!red2,@workers', ['red1']],
  ['-red2', ['blue1', 'red1', 'red10']],
  ['rack=a', ['blue1', 'red1']],
  ['rack=z', []],
  ['~^red', ['red1', 'red2', 'red10']],
  ['~0$, blue1', ['blue1', 'red10']],
  ['@workers,@workers2', ['red1', 'red2', 'red10']],
])('%s', (text, names) => {
  expect(selectNodes(text, facts)).toEqual(names);
});

test.each([
  ['red[2-4]', /There is no node "red3"\. There is no node "red4"/],
  ['@workrs', /no group "workrs"; did you mean @workers\?/],
  ['red1,', /a part of it is empty/],
  ['~(', /"\(" is not a regular expression/],
  ['red[1-', /a bracket is not closed/],
  ['Red1', /"Red1" is not a node name/],
])('%s is refused', (text, message) => {
  expect(() => selectNodes(text, facts)).toThrow(message);
});

test('names of nodes that are to be, in the order written', () => {
  expect(expandNames('red[7,5-6],rack[a-b]')).toEqual(['red7', 'red5', 'red6', 'racka', 'rackb']);
});
