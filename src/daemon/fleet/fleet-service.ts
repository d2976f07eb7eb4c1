/** The fleet as a whole: what a fleet file would change, and changing it. */
import { isDeepStrictEqual } from 'node:util';
import { documentOf, fleetSchema } from '../../config/fleet-document.ts';
import { lookAtFleetFile } from '../../config/fleet-file.ts';
import { UserError } from '../../domain/errors.ts';
import type { Fleet, FleetNode, FleetProblem } from '../../domain/fleet.ts';
import type { Group } from '../../domain/group.ts';
import type { ImageRef } from '../../domain/image-ref.ts';
import type { Node, NodeName, NodeRecord } from '../../domain/node.ts';
import { isPiSerial } from '../../domain/serial.ts';
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
  /** They are no longer registered: their boots, overlays and keys go too. */
  readonly afterRemoval: (names: readonly NodeName[]) => Promise<void>;
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
  /** Records of the name server. */
  readonly dns: 'change' | 'none';
  readonly groups: readonly GroupPlan[];
  readonly nodes: readonly NodePlan[];
  /** In the registry and not in the file. They stay as they are. */
  readonly unlisted: readonly NodeName[];
  /** Of those in the file: none but the server itself can log in. */
  readonly withoutKey: readonly NodeName[];
}

export function createFleetService(options: FleetServiceOptions): FleetAdmin {
  const { nodes } = options;
  return {
    apply: async (request) => {
      const file = await readFleet(request, options);
      const plan = await compareFleets(file, options);
      if (!request.dryRun) {
        // As the registry is now: boards may have been claimed, and nodes changed, while images were looked up.
        const change = changeTo(file, nodes);
        const { text, sources } = request;
        nodes.apply({ ...change, ...(request.remember ? { document: { text, sources } } : {}) });
        options.onChange();
        await options.afterRemoval(change.remove);
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

interface ReadFleet {
  readonly request: FleetApply;
  readonly expanded: ExpandedFleet;
  /** Whether the file says what holds for all nodes. */
  readonly hasSettings: boolean;
  readonly hasDns: boolean;
  readonly refuse: (problems: readonly FleetProblem[]) => void;
}

async function readFleet(request: FleetApply, options: FleetServiceOptions): Promise<ReadFleet> {
  const { document, refuse } = lookAtFleetFile({ name: request.name, text: request.text, sources: request.sources });
  const expanded = expandFleet(document);
  const has = { hasSettings: document.settings !== undefined, hasDns: document.dns !== undefined };
  const file = { request, expanded, ...has, refuse };
  const problems = await imageProblems(expanded, request.force, options);
  const target = targetOf(file, options.nodes);
  const before = { nodes: options.nodes.list(), groups: options.nodes.fleet.groups };
  const placeOf = placesIn(expanded);
  const after = options.nodes.preview(changeTo(file, options.nodes));
  refuse([
    ...expanded.problems,
    ...checkFleet(target, before, options.facts, placeOf),
    ...settingProblems(after, target, options.contents, placeOf),
    ...problems,
  ]);
  return file;
}

/** The fleet with this file in force. What it does not name stays, unless the operator wants it gone. */
function targetOf({ expanded: { fleet }, hasSettings, hasDns, request }: Omit<ReadFleet, 'refuse'>, nodes: NodeStore): Fleet {
  const { prune, merge } = request;
  const [listed, listedGroups] = [new Set(fleet.nodes.map(({ name }) => name)), new Set(fleet.groups.map(({ name }) => name))];
  const kept = prune ? [] : nodes.list().filter(({ name }) => !listed.has(name));
  const keptGroups = prune ? [] : nodes.fleet.groups.filter(({ name }) => !listedGroups.has(name));
  const placed = fleet.nodes.map((node) => {
    const known = nodes.get(node.name);
    return asClaimed(merge && known ? besides(known, node) : node, known);
  });
  return {
    everybody: hasSettings || prune ? fleet.everybody : nodes.fleet.everybody,
    dns: hasDns || prune ? fleet.dns : nodes.fleet.dns,
    groups: [...fleet.groups, ...keptGroups],
    nodes: [...placed, ...kept],
  };
}

/** What a list says about a node that is there, with what it does not say. */
function besides(known: Node, { own, ...said }: FleetNode): FleetNode {
  const labels = own.labels ? { labels: { ...known.own.labels, ...own.labels } } : {};
  const { address, group } = { ...known, ...said };
  return {
    ...said,
    own: { ...known.own, ...own, ...labels },
    ...(address === undefined ? {} : { address }),
    ...(group === undefined ? {} : { group }),
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

/** Of nodes that are there only what differs. */
function changeTo(file: ReadFleet, nodes: NodeStore): FleetChange {
  const target = targetOf(file, nodes);
  const wanted = new Set(target.nodes.map(({ name }) => name));
  const add: NodeRecord[] = [];
  const update: { name: NodeName; change: NodeUpdate }[] = [];
  for (const node of target.nodes) {
    const known = nodes.get(node.name);
    if (!known) {
      add.push({ ...node, reimage: false, ...(node.serial !== undefined && !isPiSerial(node.serial) ? { model: 'PC' } : {}) });
      continue;
    }
    const { name, serial = null, address = null, group = null, macs, own } = node;
    const change: NodeUpdate = {
      ...(serial === (known.serial ?? null) ? {} : { serial }),
      ...(address === (known.address ?? null) ? {} : { address }),
      ...(group === (known.group ?? null) ? {} : { group }),
      ...(isDeepStrictEqual(macs, known.macs) ? {} : { macs }),
      ...(isDeepStrictEqual(own, known.own) ? {} : { own }),
    };
    if (Object.keys(change).length > 0) {
      update.push({ name, change });
    }
  }
  const { groups, everybody, dns } = target;
  const remove = nodes.list().flatMap(({ name }) => (wanted.has(name) ? [] : [name]));
  return { groups, everybody, dns, add, update, remove };
}

async function compareFleets(file: ReadFleet, options: FleetServiceOptions): Promise<FleetPlan> {
  const { nodes, contents } = options;
  const change = changeTo(file, nodes);
  const [before, after] = [nodes.list(), nodes.preview(change)];
  const [partsBefore, partsAfter] = await Promise.all([contents.partsOf(before, before), contents.partsOf(after, after)]);
  const known = new Map(before.map((node, index) => [node.name, { node, parts: partsBefore[index] ?? [] }]));
  const listed = new Set(file.expanded.fleet.nodes.map(({ name }) => name));
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
    everybody: isDeepStrictEqual(nodes.fleet.everybody, change.everybody) ? 'none' : 'change',
    dns: isDeepStrictEqual(nodes.fleet.dns, change.dns) ? 'none' : 'change',
    groups: comparedGroups(nodes.fleet.groups, change.groups),
    nodes: [...plans, ...removed],
    unlisted: after.map(({ name }) => name).filter((name) => !listed.has(name)),
    withoutKey: after.filter((node) => listed.has(node.name) && !contents.hasKey(node)).map(({ name }) => name),
  };
}

function comparedGroups(before: readonly Group[], after: readonly Group[]): GroupPlan[] {
  const known = new Map(before.map((group) => [group.name, group]));
  const kept = new Set(after.map(({ name }) => name));
  return [
    ...after.map(({ name, parent, settings }): GroupPlan => {
      const old = known.get(name);
      const same = old && old.parent === parent && isDeepStrictEqual(old.settings, settings);
      return { name, action: old ? (same ? 'none' : 'change') : 'add' };
    }),
    ...before.filter(({ name }) => !kept.has(name)).map(({ name }): GroupPlan => ({ name, action: 'remove' })),
  ];
}

/** What a node itself notices nothing of. */
function recordChanges(before: Node, after: Node): string[] {
  const labels = ({ settings }: Node): string =>
    Object.entries(settings.labels ?? {})
      .toSorted()
      .map(([key, value]) => `${key}=${value}`)
      .join(' ');
  const facts = (node: Node): Record<string, string | undefined> => ({
    serial: node.serial,
    MAC: node.macs.join(' '),
    address: node.address,
    group: node.group,
    labels: labels(node),
  });
  const now = facts(after);
  return Object.entries(facts(before)).flatMap(([what, old]) =>
    old === now[what] ? [] : [`${what} ${old || '-'} -> ${now[what] || '-'}`],
  );
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
    const runs = session?.outcome === 'ready';
    const given = runs ? session.content : undefined;
    const changes = given ? compareContent(given, parts[index] ?? []) : [];
    return {
      name: node.name,
      state: given ? (changes.length === 0 ? 'current' : 'outdated') : runs ? 'unknown' : 'not running',
      changes,
      reboot: changes.some(({ live }) => !live),
      unreachable: isUnreachable(node.name, options),
    };
  });
}

function isUnreachable(node: NodeName, { sessions, listens }: FleetServiceOptions): boolean {
  return sessions.of(node)?.outcome === 'ready' && !listens(node);
}
