import { expect, test } from 'vitest';
import { type FleetResult, fleetText, pendingText } from '#src/cli/fleet/fleet-view.ts';

const node = (name: string, change: Partial<FleetResult['nodes'][number]> = {}): FleetResult['nodes'][number] => ({
  name,
  action: 'change',
  changes: [{ what: '/etc/hosts', change: 'changed', live: true }],
  record: [],
  reboot: false,
  unreachable: false,
  ...change,
});
const result = (nodes: FleetResult['nodes']): FleetResult => ({
  everybody: 'none',
  dns: 'none',
  groups: [],
  nodes,
  withoutKey: [],
  unlisted: nodes.map(({ name }) => name),
  applied: false,
});

test('nodes of which the same is said stand in one row; whoever differs has one of its own', () => {
  const nodes = [node('red1'), node('red2'), node('red3', { unreachable: true }), node('red4', { action: 'add', changes: [] })];
  expect(fleetText(result(nodes)).split('\n')).toEqual([
    'NODES       WHEN                                         WHAT',
    '~ red[1-2]  live                                         /etc/hosts',
    '~ red3      at its next boot: its agent does not listen  /etc/hosts',
    '+ red4                                                   new',
    'not in the file, and left alone: red[1-4] (--prune removes them)',
    'nothing was changed; cardless apply -f does it',
  ]);
});

test('a list says nothing of nodes that are not in it', () => {
  expect(
    fleetText(result([node('red1')]), 'list')
      .split('\n')
      .slice(2),
  ).toEqual(['nothing was changed; without --dry-run it is']);
  expect(fleetText({ ...result([node('red1')]), withoutKey: ['red1', 'red2'] }, 'list')).toContain("\nwithout anybody's key: red[1-2] (");
  expect(fleetText(result([node('red1', { action: 'none' })]), 'list')).toBe('1 node stays as it is\nnothing would change');
});

test('what is pending, for nodes and for none', () => {
  const pending = { state: 'not running' as const, changes: [], reboot: false, unreachable: false };
  expect(
    pendingText([
      { name: 'red1', ...pending },
      { name: 'red2', ...pending },
    ]).split('\n')[1],
  ).toBe('red[1-2]  not running');
  expect(pendingText([])).toBe('No nodes yet.');
});
