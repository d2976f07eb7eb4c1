import { expect, test } from 'vitest';
import type { PowerDriver } from '#src/domain/node-settings.ts';
import { powerProblems } from '#src/policy/check-power.ts';
import { testNode } from '../support/nodes.ts';

const problems = (power: PowerDriver, labels: Record<string, string> = {}): string[] =>
  powerProblems(testNode('red5', { own: { power, labels } }), undefined, 'arm64').map(({ message }) => message);

test('what a board will say when it is there is not missed before it is', () => {
  expect(problems({ driver: 'webhook', on: 'http://{{ node.address }}/{{ node.serial }}/on' })).toEqual([]);
  expect(problems({ driver: 'snmp', host: '192.168.1.2', port: '1.{{ node.labels.outlet }}' }, { outlet: '7' })).toEqual([]);
});

test.each<[string, PowerDriver, RegExp]>([
  ['a label that the node has not', { driver: 'command', on: 'plug {{ node.labels.outlet }}' }, /undefined variable: node.labels.outlet/],
  ['a template that is none', { driver: 'command', off: 'plug {{ node.name' }, /not closed/],
  ['a port that is none', { driver: 'snmp', host: '192.168.1.2', port: 'left' }, /"left" is not a switch/],
  ['what is no URL', { driver: 'webhook', status: 'ftp://plug/' }, /"status" is not a URL/],
])('%s', (_name, power, said) => {
  expect(problems(power)).toHaveLength(1);
  expect(problems(power)[0]).toMatch(said);
});
