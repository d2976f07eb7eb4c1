/** The fleet as a whole: what a fleet file would change, and changing it. */
import { documentOf, fleetSchema } from '../../config/fleet-document.ts';
import { readFleetFile } from '../../config/fleet-file.ts';
import { UserError } from '../../domain/errors.ts';
import type { Fleet, FleetNode, FleetProblem } from '../../domain/fleet.ts';
import type { Group } from '../../domain/group.ts';
import type { ImageRef } from '../../domain/image-ref.ts';
import type { Node, NodeName, NodeRecord } from '../../domain/node.ts';
import { checkFleet, type FleetFacts } from '../../policy/check-fleet.ts';
import { type ContentChange, compareContent } from '../../policy/node-content.ts';
import type { FleetAdmin, FleetApply } from '../../servers/http/admin/fleet-routes.ts';
import type { FleetChange, NodeStore, NodeUpdate } from '../../store/nodes.ts';
import type { BootSessions } from '../boot-sessions.ts';
import { type ExpandedFleet, expandFleet } from './expand-fleet.ts';
import { exportFleet } from './export-fleet.ts';
import type { NodeContents } from './node-contents.ts';
import { nodesOf } from './select-nodes.ts';
import { settingProblems } from './setting-problems.ts';

export interface FleetServiceOptions {
  readonly nodes: NodeStore;
  readonly sessions: BootSessions;
  readonly contents: NodeContents;
  readonly facts: FleetFacts;
  /** What was written as an image. @throws UserError bad-input, not-found */
  readonly imageRef: (text: string, force: boolean) => Promise<ImageRef>;
  /** With their overlays, keys and histories. */
  readonly removeNodes: (names: readonly NodeName[]) => Promise<unknown>;
  /** Whether the agent of a node would hear of a change. */
  readonly listens: (node: NodeName) => boolean;
  /** A change is in force: whoever keeps nodes current looks again. */
  readonly onChange: () => void;
}

interface NodePlan {
  readonly name: NodeName;
  readonly action: 'add' | 'change' | 'remove' | 'none';
  readonly changes: readonly ContentChange[];
  /** What the registry alone sees: its serial, its group. */
  readonly record: readonly string[];
  readonly reboot: boolean;
  /** It runs, and nothing that is live would reach it. */
  readonly unreachable: boolean;
}

interface GroupPlan {
  readonly name: string;
  readonly action: 'add' | 'change' | 'remove' | 'none';
}

interface FleetPlan {
  readonly everybody: 'change' | 'none';
  readonly groups: readonly GroupPlan[];
  readonly nodes: readonly NodePlan[];
  /** In the registry and not in the file. They stay as they are. */
  readonly unlisted: readonly NodeName[];
}

export function createFleetService(options: FleetServiceOptions): FleetAdmin {
  const { nodes } = options;
  return {
    apply: async (request) => {
      const { change, plan } = await planFile(request, options);
      if (!request.dryRun) {
        if (change.remove.length > 0) {
          await options.removeNodes(change.remove);
        }
        const { text, sources } = request;
        nodes.apply({ ...change, remove: [], ...(request.remember ? { document: { text, sources } } : {}) });
        options.onChange();
      }
      return { ...plan, applied: !request.dryRun };
    },
    pending: async (names) => {
      const chosen = names === undefined ? nodes.list() : nodesOf(nodes, names);
      return await pendingOf(chosen, options);
    },
    export: () => exportFleet(nodes),
    schema: fleetSchema,
    groups: () =>
      nodes.fleet.groups.map(({ name, parent, settings }) => ({
        name,
        ...(parent === undefined ? {} : { parent }),
        settings: documentOf(settings),
        nodes: nodes
          .list()
          .filter((node) => node.groups.includes(name))
          .map((node) => node.name),
      })),
  };
}

async function planFile(request: FleetApply, options: FleetServiceOptions): Promise<{ change: FleetChange; plan: FleetPlan }> {
  const { nodes, facts } = options;
  const file = readFleetFile({ name: request.name, text: request.text, sources: request.sources });
  const expanded = expandFleet(file.document);
  const target = withUnlisted(expanded.fleet, nodes, request.prune);
  const placeOf = placesIn(expanded);
  const change = changeTo(target, nodes);
  const after = nodes.preview(change);
  const problems = [
    ...expanded.problems,
    ...checkFleet(target, facts, placeOf),
    ...settingProblems(after, target, options.contents, placeOf),
    ...(await imageProblems(expanded, request.force, options)),
  ];
  file.refuse(problems);
  return { change, plan: await compareFleets(change, after, expanded.fleet, options) };
}

/** What a file does not name stays, unless the operator wants it gone. */
function withUnlisted(fleet: Fleet, nodes: NodeStore, prune: boolean): Fleet {
  const [listed, listedGroups] = [new Set(fleet.nodes.map(({ name }) => name)), new Set(fleet.groups.map(({ name }) => name))];
  const kept = prune ? [] : nodes.list().filter(({ name }) => !listed.has(name));
  const keptGroups = prune ? [] : nodes.fleet.groups.filter(({ name }) => !listedGroups.has(name));
  return {
    ...fleet,
    groups: [...fleet.groups, ...keptGroups],
    nodes: [...fleet.nodes.map((node) => asClaimed(node, nodes.get(node.name))), ...kept],
  };
}

/** A file need not name the board that was claimed for a node, nor the MACs that it told. */
function asClaimed(node: FleetNode, known: Node | undefined): FleetNode {
  const isSameBoard =
    known !== undefined &&
    (node.serial === undefined || node.serial === known.serial) &&
    node.macs.every((mac) => known.macs.includes(mac));
  return isSameBoard ? { ...node, macs: known.macs, ...(known.serial === undefined ? {} : { serial: known.serial }) } : node;
}

function placesIn({ keyOf }: ExpandedFleet): (kind: 'node' | 'group', name: string) => PropertyKey[] {
  return (kind, name) => (kind === 'group' ? ['groups', name] : ['nodes', keyOf.get(name as NodeName) ?? name]);
}

async function imageProblems({ fleet, keyOf }: ExpandedFleet, force: boolean, { imageRef }: FleetServiceOptions): Promise<FleetProblem[]> {
  const entries = [
    { path: ['settings'], settings: fleet.everybody },
    ...fleet.groups.map((group) => ({ path: ['groups', group.name], settings: group.settings })),
    ...fleet.nodes.map((node) => ({ path: ['nodes', keyOf.get(node.name) ?? node.name], settings: node.own })),
  ];
  const seen = new Set<string>();
  const problems: FleetProblem[] = [];
  for (const { path, settings } of entries) {
    const place = `${path.join('.')} ${settings.image}`;
    if (settings.image === undefined || seen.has(place)) {
      continue;
    }
    seen.add(place);
    try {
      await imageRef(settings.image, force);
    } catch (error) {
      if (!(error instanceof UserError)) {
        throw error;
      }
      problems.push({ path: [...path, 'image'], message: error.hint === undefined ? error.message : `${error.message}. ${error.hint}` });
    }
  }
  return problems;
}

function changeTo(target: Fleet, nodes: NodeStore): FleetChange {
  const wanted = new Set(target.nodes.map(({ name }) => name));
  const add: NodeRecord[] = [];
  const update: { name: NodeName; change: NodeUpdate }[] = [];
  for (const node of target.nodes) {
    const known = nodes.get(node.name);
    if (known) {
      const { name, serial = null, address = null, group = null, macs, own } = node;
      update.push({ name, change: { serial, address, group, macs, own } });
    } else {
      add.push({ ...node, reimage: false });
    }
  }
  return {
    groups: target.groups,
    everybody: target.everybody,
    dns: target.dns,
    add,
    update,
    remove: nodes
      .list()
      .map(({ name }) => name)
      .filter((name) => !wanted.has(name)),
  };
}

async function compareFleets(change: FleetChange, after: readonly Node[], file: Fleet, options: FleetServiceOptions): Promise<FleetPlan> {
  const { nodes, contents } = options;
  const before = nodes.list();
  const [partsBefore, partsAfter] = await Promise.all([contents.partsOf(before, before), contents.partsOf(after, after)]);
  const known = new Map(before.map((node, index) => [node.name, { node, parts: partsBefore[index] ?? [] }]));
  const listed = new Set(file.nodes.map(({ name }) => name));
  const plans = after.map((node, index): NodePlan => {
    const old = known.get(node.name);
    const changes = old ? compareContent(valuesOf(old.parts), partsAfter[index] ?? []) : [];
    const record = old ? recordChanges(old.node, node) : [];
    const action = old ? (changes.length + record.length > 0 ? 'change' : 'none') : 'add';
    return {
      name: node.name,
      action,
      changes,
      record,
      reboot: changes.some(({ live }) => !live),
      unreachable: isUnreachable(node.name, options),
    };
  });
  const removed = change.remove.map(
    (name): NodePlan => ({
      name,
      action: 'remove',
      changes: [],
      record: [],
      reboot: false,
      unreachable: false,
    }),
  );
  return {
    everybody: sameSettings(nodes.fleet.everybody, change.everybody) ? 'none' : 'change',
    groups: comparedGroups(nodes.fleet.groups, change.groups),
    nodes: [...plans, ...removed],
    unlisted: after.map(({ name }) => name).filter((name) => !listed.has(name)),
  };
}

function comparedGroups(before: readonly Group[], after: readonly Group[]): GroupPlan[] {
  const known = new Map(before.map((group) => [group.name, group]));
  const kept = new Set(after.map(({ name }) => name));
  return [
    ...after.map(({ name, parent, settings }): GroupPlan => {
      const old = known.get(name);
      const same = old && old.parent === parent && sameSettings(old.settings, settings);
      return { name, action: old ? (same ? 'none' : 'change') : 'add' };
    }),
    ...before.filter(({ name }) => !kept.has(name)).map(({ name }): GroupPlan => ({ name, action: 'remove' })),
  ];
}

function recordChanges(before: Node, after: Node): string[] {
  const list = { serial: 'serial', address: 'address', group: 'group' } as const;
  return Object.entries(list).flatMap(([key, what]) => {
    const [old, now] = [before[key as keyof typeof list], after[key as keyof typeof list]];
    return old === now ? [] : [`${what} ${old ?? '-'} -> ${now ?? '-'}`];
  });
}

function sameSettings(a: object, b: object): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

/** Keys of an object have no order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(sorted);
  }
  return typeof value === 'object' && value !== null
    ? Object.fromEntries(
        Object.entries(value)
          .toSorted(([a], [b]) => (a < b ? -1 : 1))
          .map(([key, inner]) => [key, sorted(inner)]),
      )
    : value;
}

function valuesOf(parts: readonly { readonly what: string; readonly value: string }[]): Record<string, string> {
  return Object.fromEntries(parts.map(({ what, value }) => [what, value]));
}

/** Nodes whose running system was given something else than they would be given now. */
async function pendingOf(chosen: readonly Node[], options: FleetServiceOptions): Promise<object[]> {
  const { nodes, sessions, contents } = options;
  const parts = await contents.partsOf(chosen, nodes.list());
  return chosen.map((node, index) => {
    const session = sessions.of(node.name);
    const given = session?.outcome === 'ready' ? session.content : undefined;
    const changes = given ? compareContent(given, parts[index] ?? []) : [];
    return {
      name: node.name,
      state: given ? (changes.length === 0 ? 'current' : 'outdated') : 'not running',
      changes,
      reboot: changes.some(({ live }) => !live),
      unreachable: isUnreachable(node.name, options),
    };
  });
}

function isUnreachable(node: NodeName, { sessions, listens }: FleetServiceOptions): boolean {
  return sessions.of(node)?.outcome === 'ready' && !listens(node);
}
