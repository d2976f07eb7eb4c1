import { UserError } from '../../domain/errors.ts';
import { type Node, type NodeName, parseNodeName } from '../../domain/node.ts';
import { type SetFacts, selectNodes } from '../../policy/node-set.ts';
import type { NodeStore } from '../../store/nodes.ts';

/** The nodes of a set as people write it. @throws UserError bad-input, not-found also when there is none in it */
export function nodesOf(nodes: NodeStore, text: string): Node[] {
  const names = namesOf(nodes, text).map(parseNodeName);
  return names.map((name) => nodes.require(name));
}

/**
 * The same, where a node may be gone whose disks are left.
 * @param left names of nodes that are no longer registered
 */
export function namesOf(nodes: NodeStore, text: string, left: readonly string[] = []): NodeName[] {
  const names = selectNodes(text, factsOf(nodes, left)).map(parseNodeName);
  if (names.length === 0) {
    throw new UserError('not-found', `No node is in "${text}"`, { hint: 'cardless node list shows all' });
  }
  return names;
}

function factsOf(nodes: NodeStore, left: readonly string[]): SetFacts {
  const members = nodes.list().map(({ name, groups, settings }) => ({ name: String(name), groups, labels: settings.labels ?? {} }));
  const known = new Set(members.map(({ name }) => name));
  const gone = left.filter((name) => !known.has(name)).map((name) => ({ name, groups: [], labels: {} }));
  return { members: [...members, ...gone], groups: nodes.fleet.groups.map(({ name }) => name) };
}
