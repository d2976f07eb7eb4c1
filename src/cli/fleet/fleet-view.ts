/** What a change of the fleet looks like to people. */
import { z } from 'zod';
import { foldRange } from '../../domain/fold-range.ts';
import { table } from '../format.ts';

const Change = z.object({ what: z.string(), change: z.enum(['added', 'changed', 'removed']), live: z.boolean() });
const action = z.enum(['add', 'change', 'remove', 'none']);

export const FleetResult = z.object({
  everybody: z.enum(['change', 'none']),
  dns: z.enum(['change', 'none']).default('none'),
  groups: z.array(z.object({ name: z.string(), action })),
  nodes: z.array(
    z.object({
      name: z.string(),
      action,
      changes: z.array(Change),
      record: z.array(z.string()),
      reboot: z.boolean(),
      unreachable: z.boolean(),
    }),
  ),
  unlisted: z.array(z.string()),
  withoutKey: z.array(z.string()).default([]),
  applied: z.boolean(),
});
export type FleetResult = z.infer<typeof FleetResult>;

export const PendingNodes = z.array(
  z.object({
    name: z.string(),
    state: z.enum(['current', 'outdated', 'unknown', 'not running']),
    changes: z.array(Change),
    reboot: z.boolean(),
    unreachable: z.boolean(),
  }),
);
export type PendingNodes = z.infer<typeof PendingNodes>;

const signs = { add: '+', change: '~', remove: '-', none: ' ' } as const;

/** @param from `list`: nodes that are not in it are nobody's concern */
export function fleetText(result: FleetResult, from: 'file' | 'list' = 'file'): string {
  const groups = result.groups.filter((group) => group.action !== 'none').map((group) => `${signs[group.action]} group ${group.name}`);
  const nodes = result.nodes.filter((node) => node.action !== 'none');
  const isSame = nodes.length === 0 && groups.length === 0 && result.everybody === 'none' && result.dns === 'none';
  const same = result.nodes.length - nodes.length;
  const rows = nodes.map((node) => ({
    name: node.name,
    sign: `${signs[node.action]} `,
    cells: [
      node.action === 'change' ? (node.changes.length > 0 ? whenText(node) : 'now') : '',
      node.action === 'add' ? 'new' : node.action === 'remove' ? 'removed' : [...node.record, ...changeWords(node.changes)].join(', '),
    ],
  }));
  return [
    ...(result.everybody === 'change' ? ['~ settings of all nodes'] : []),
    ...(result.dns === 'change' ? ['~ DNS records'] : []),
    ...groups,
    ...(rows.length === 0 ? [] : [table(['NODES', 'WHEN', 'WHAT'], together(rows))]),
    ...(same > 0 ? [`${same} ${same === 1 ? 'node stays' : 'nodes stay'} as ${same === 1 ? 'it is' : 'they are'}`] : []),
    ...(result.unlisted.length === 0 || from === 'list'
      ? []
      : [`not in the file, and left alone: ${foldRange(result.unlisted)} (--prune removes them)`]),
    ...(result.withoutKey.length === 0
      ? []
      : [`without anybody's key: ${foldRange(result.withoutKey)} (only cardless ssh reaches them; authorizedKeys gives them one)`]),
    result.applied
      ? 'applied'
      : isSame
        ? 'nothing would change'
        : `nothing was changed; ${from === 'list' ? 'without --dry-run it is' : 'cardless apply -f does it'}`,
  ].join('\n');
}

export function pendingText(nodes: PendingNodes): string {
  const rows = nodes.map((node) => ({
    name: node.name,
    cells: [node.state, node.state === 'outdated' ? whenText(node) : '', changeWords(node.changes).join(', ')],
  }));
  return nodes.length === 0 ? 'No nodes yet.' : table(['NODES', 'STATE', 'WHEN', 'WOULD CHANGE'], together(rows));
}

interface NodeRow {
  readonly name: string;
  readonly sign?: string;
  readonly cells: readonly string[];
}

/** One row for all nodes of which the same is said: of a hundred, most say that they hear of another name. */
function together(rows: readonly NodeRow[]): string[][] {
  const alike = Map.groupBy(rows, ({ sign = '', cells }) => JSON.stringify([sign, ...cells]));
  return [...alike.values()].flatMap((same) =>
    same.slice(0, 1).map(({ sign = '', cells }) => [`${sign}${foldRange(same.map(({ name }) => name))}`, ...cells]),
  );
}

function whenText({ reboot, unreachable }: { readonly reboot: boolean; readonly unreachable: boolean }): string {
  if (unreachable) {
    return 'at its next boot: its agent does not listen';
  }
  return reboot ? 'at its next boot' : 'live';
}

function changeWords(changes: readonly z.infer<typeof Change>[]): string[] {
  return changes.map(({ what, change }) => (change === 'changed' ? what : `${what} ${change}`));
}
