/** What is wrong with the settings of nodes, and where in a fleet file that was said. */
import { UserError } from '../../domain/errors.ts';
import type { FleetProblem } from '../../domain/fleet.ts';
import { foldRange } from '../../domain/fold-range.ts';
import type { Group } from '../../domain/group.ts';
import type { Node, NodeName } from '../../domain/node.ts';
import type { NodeSettings } from '../../domain/node-settings.ts';
import type { PlaceOf } from '../../policy/check-fleet.ts';
import type { SettingsProblem } from '../../policy/render-files.ts';
import type { NodeContents } from './node-contents.ts';

interface SaidFor {
  readonly groups: readonly Group[];
  readonly everybody: NodeSettings;
}

/** @param fleet all nodes, with what they inherit from `said` */
export function settingProblems(fleet: readonly Node[], said: SaidFor, contents: NodeContents, placeOf: PlaceOf): FleetProblem[] {
  const nodes = new Map(fleet.map((node) => [node.name, node]));
  const placed = contents.problemsOf(fleet).map(({ node: name, problem }) => {
    const node = nodes.get(name);
    return { node: name, path: node === undefined ? [] : placeInFile(node, problem, said, placeOf), message: problem.message };
  });
  return together(placed);
}

interface PlacedProblem extends FleetProblem {
  readonly node: NodeName;
}

/** What is wrong with many nodes for the same reason is told once. */
function together(problems: readonly PlacedProblem[]): FleetProblem[] {
  const alike = Map.groupBy(problems, ({ path, message }) => JSON.stringify([path.map(String), message]));
  return [...alike.values()].flatMap((same) =>
    same.slice(0, 1).map(({ path, message }) => ({ path, message: `${foldRange(same.map(({ node }) => node))}: ${message}` })),
  );
}

/** The narrowest that says it is where the node has it from. */
function placeInFile(node: Node, { list, key }: SettingsProblem, { groups, everybody }: SaidFor, placeOf: PlaceOf): readonly PropertyKey[] {
  const places = [
    { path: placeOf('node', node.name), settings: node.own },
    ...node.groups.map((name) => ({
      path: placeOf('group', name),
      settings: groups.find((group) => group.name === name)?.settings ?? {},
    })),
    { path: ['settings'], settings: everybody },
  ];
  for (const { path, settings } of places) {
    const entries = settings[list];
    if (!Array.isArray(entries)) {
      if (entries !== undefined) {
        return [...path, list];
      }
      continue;
    }
    const index = entries.findIndex((entry: { path?: string; name?: string }) => (list === 'files' ? entry.path : entry.name) === key);
    if (index >= 0) {
      return [...path, list, index];
    }
  }
  return placeOf('node', node.name);
}

/** @throws UserError bad-input with all that is wrong now and was not before */
export function refuseSettingProblems(fleet: readonly Node[], before: readonly Node[], contents: Pick<NodeContents, 'problemsOf'>): void {
  const found = (nodes: readonly Node[]): PlacedProblem[] =>
    contents.problemsOf(nodes).map(({ node, problem: { message } }) => ({ node, path: [], message }));
  const now = found(fleet);
  const known = new Set((now.length === 0 ? [] : found(before)).map(({ node, message }) => `${node}: ${message}`));
  const problems = together(now.filter(({ node, message }) => !known.has(`${node}: ${message}`)));
  if (problems.length > 0) {
    throw new UserError('bad-input', `Nothing was changed:\n  ${problems.map(({ message }) => message).join('\n  ')}`, {
      hint: 'cardless config export shows the settings that nodes have',
    });
  }
}
