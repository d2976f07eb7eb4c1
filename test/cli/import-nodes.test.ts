import { expect, test } from 'vitest';
import { fleetOfCsv } from '#src/cli/node/import-nodes.ts';

test('a list keeps its lines: what is wrong with a node is told with the line of the list', () => {
  const text = 'Name;serial;label:room\nred1;91cdf03d;12\n;;\nred2;91cdf03e;\n';
  expect(fleetOfCsv('class.csv', text).split('\n')).toEqual([
    'nodes:',
    '  "red1": {"serial":"91cdf03d","labels":{"room":"12"}}',
    '',
    '  "red2": {"serial":"91cdf03e"}',
    '',
  ]);
});

test('columns and names that are wrong are told all at once', () => {
  const said = (text: string): string => {
    try {
      return fleetOfCsv('class.csv', text);
    } catch (error) {
      return String(error);
    }
  };
  const wrong = said('name,serail,colour\nred1,91cdf03d,x\nred1,91cdf03e,x\n,91cdf03f,x\n');
  expect(wrong).toContain('there is no column "serail"; did you mean serial?');
  expect(wrong).toContain('there is no column "colour"');
  expect(wrong).toContain('red1 stands in line 2 and in line 3');
  expect(wrong).toContain('line 4 has no name');
  expect(said('serial\n91cdf03d\n')).toContain('it has no column "name"');
});
