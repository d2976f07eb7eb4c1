/** What the operator's API does with single nodes. */
import { UserError } from '../domain/errors.ts';
import { everybody, parseGroupName } from '../domain/group.ts';
import type { ImageDigest } from '../domain/image.ts';
import type { ImageRef } from '../domain/image-ref.ts';
import { type Ipv4, parseIpv4 } from '../domain/ipv4.ts';
import { type Node, type NodeName, parseNodeName } from '../domain/node.ts';
import type { NodeSettings } from '../domain/node-settings.ts';
import { type Carry, parseDiskSize, parseRootPath } from '../domain/overlay.ts';
import type { DataVolumes } from '../overlays/data-volumes.ts';
import type { OverlayDisks } from '../overlays/overlay-disks.ts';
import type { Turns } from '../overlays/turns.ts';
import { checkFleet, type FleetFacts } from '../policy/check-fleet.ts';
import { expandNames } from '../policy/node-set.ts';
import { holdersOf } from '../process/disk-holders.ts';
import type { inheritable, NodeAdmin, NodeChange } from '../servers/http/admin/node-routes.ts';
import type { NodeStore, NodeUpdate } from '../store/nodes.ts';
import type { SessionStore } from '../store/sessions.ts';
import type { BootSessions } from './boot-sessions.ts';
import type { Exports } from './exports.ts';
import { nodesToAdd, ownSettings } from './fleet/add-nodes.ts';
import { paired } from './fleet/expand-fleet.ts';
import type { NodeContents } from './fleet/node-contents.ts';
import { namesOf, nodesOf } from './fleet/select-nodes.ts';
import { refuseSettingProblems } from './fleet/setting-problems.ts';
import type { HostKeys } from './identity.ts';
import type { NodeVitals } from './node-vitals.ts';
import type { NodeSecrets } from './secrets.ts';
import type { UnclaimedBoards } from './unclaimed.ts';

export interface NodeServiceOptions {
  readonly nodes: NodeStore;
  readonly sessionStore: SessionStore;
  readonly sessions: BootSessions;
  readonly unclaimed: UnclaimedBoards;
  readonly overlays: OverlayDisks;
  readonly data: DataVolumes;
  readonly exports: Exports;
  readonly turns: Turns;
  readonly hostKeys: HostKeys;
  readonly secrets: NodeSecrets;
  readonly contents: NodeContents;
  readonly vitals: Pick<NodeVitals, 'of'>;
  /** Where a node is or will be found. */
  readonly addressOf: (node: Node) => Ipv4 | undefined;
  readonly facts: FleetFacts;
  /** What was written as an image. @throws UserError bad-input, not-found */
  readonly imageRef: (text: string, force: boolean) => Promise<ImageRef>;
  /** The versions that a node would boot now: more than one while nobody knows what kind of machine it is. */
  readonly nextImages: (node: Node) => Promise<readonly ImageDigest[]>;
  /** What nodes are told about one another has changed. */
  readonly onChange: () => void;
}

export function createNodeService(options: NodeServiceOptions): NodeAdmin {
  const { nodes, unclaimed, onChange } = options;
  const view = (node: Node): Promise<object> => viewOf(node, options);
  return {
    list: (names) => Promise.all((names === undefined ? nodes.list() : nodesOf(nodes, names)).map(view)),
    listUnclaimed: () => unclaimed.list(),
    add: async (request) => {
      const image = request.image === undefined ? undefined : await options.imageRef(request.image, request.force ?? false);
      const { added, same } = nodesToAdd(request, image, nodes, options.facts);
      const after = nodes.preview({ ...nodes.fleet, add: added, update: [], remove: [] });
      refuseSettingProblems(after, nodes.list(), options.contents);
      if (!request.dryRun) {
        nodes.add(added);
        for (const node of added) {
          unclaimed.forgetBoard(node);
        }
        onChange();
      }
      const isAdded = new Set(added.map(({ name }) => name));
      const isMeant = new Set([...added, ...same].map(({ name }) => name));
      return after.filter(({ name }) => isMeant.has(name)).map((node) => ({ ...node, added: isAdded.has(node.name) }));
    },
    show: (names) =>
      Promise.all(
        nodesOf(nodes, names).map(async (node) => ({
          ...(await view(node)),
          settings: node.settings,
          groups: node.groups,
          nextImages: await options.nextImages(node),
        })),
      ),
    change: async (names, request) => {
      const image = request.image === undefined ? undefined : await options.imageRef(request.image, request.force ?? false);
      if (request.dataSize !== undefined) {
        for (const node of nodesOf(nodes, names)) {
          await checkDataSize(node.name, request.dataSize, options);
        }
      }
      // From here on nothing is waited for: nobody else changes what is read.
      const chosen = nodesOf(nodes, names);
      const addresses = addressesFor(names, chosen, request.ip);
      const update = chosen.map((node) => ({
        name: node.name,
        change: {
          ...nodeChange(node, request, image, options),
          ...(addresses === undefined ? {} : { address: addresses.get(node.name) ?? null }),
        },
      }));
      const change = { ...nodes.fleet, add: [], remove: [], update };
      const [before, after] = [{ nodes: nodes.list(), groups: nodes.fleet.groups }, nodes.preview(change)];
      refuseSettingProblems(after, nodes.list(), options.contents);
      const problems = checkFleet({ ...before, nodes: after }, before, options.facts, () => []);
      if (problems.length > 0) {
        throw new UserError('bad-input', problems.map(({ message }) => message).join('. '), { hint: 'Nothing was changed' });
      }
      if (request.dryRun) {
        return after.filter(({ name }) => chosen.some((node) => node.name === name));
      }
      nodes.apply(change);
      onChange();
      return chosen.map(({ name }) => nodes.require(name));
    },
    reimage: (names) => {
      const chosen = nodesOf(nodes, names);
      for (const { name } of chosen) {
        nodes.update(name, { reimage: true });
      }
      return chosen.map(({ name }) => nodes.require(name));
    },
    remove: async (names, { withData, dryRun }) => {
      const all = namesOf(nodes, names, withData ? await options.data.nodes() : []);
      if (dryRun) {
        return all.map((name) => ({ name, dataKept: false }));
      }
      const removed = await removeNodes(all, withData, options);
      onChange();
      return removed;
    },
    listBoots: (name) => options.sessionStore.of(nodes.require(parseNodeName(name)).name).map(withoutSecrets),
  };
}

/**
 * In the order in which the nodes are written, for a set has another: that of the registry. Undefined: nothing was said.
 * @throws UserError bad-input
 */
function addressesFor(names: string, chosen: readonly Node[], ip: string | null | undefined): Map<NodeName, Ipv4 | null> | undefined {
  if (ip === undefined || ip === null) {
    return ip === null ? new Map() : undefined;
  }
  const [only] = chosen;
  if (chosen.length === 1 && only) {
    return new Map([[only.name, parseIpv4(ip)]]);
  }
  if (/[@~=!]|(^|,)\s*-/.test(names)) {
    throw new UserError('bad-input', `It is not said which of "${names}" gets which address`, {
      hint: 'Name the nodes in their order, as in: cardless node set red[5-7] --ip 192.168.1.[5-7]',
    });
  }
  const written = expandNames(names).map(parseNodeName);
  return new Map(paired(ip, written, 'addresses').map((address, index) => [written[index] ?? parseNodeName('none'), parseIpv4(address)]));
}

async function viewOf(node: Node, options: NodeServiceOptions): Promise<object> {
  const session = options.sessions.of(node.name);
  const address = options.addressOf(node);
  const hostKey = await options.hostKeys.known(node.name);
  const volume = await options.data.of(node.name);
  const vitals = options.vitals.of(node.name);
  const { settings: _settings, groups: _groups, own: _own, ...record } = node;
  return {
    ...record,
    ...(node.settings.labels ? { labels: node.settings.labels } : {}),
    ...(address === undefined ? {} : { address }),
    state: session
      ? session.outcome === 'running'
        ? session.stage
        : session.outcome
      : node.serial === undefined && node.macs.length === 0
        ? 'no board yet'
        : 'never booted',
    overlayUsedBytes: await options.overlays.used(node.name),
    ...(volume ? { data: volume } : {}),
    ...(vitals ? { vitals } : {}),
    ...(hostKey ? { hostKey: hostKey.publicKey } : {}),
    ...(session ? { boot: withoutSecrets(session) } : {}),
  };
}

function nodeChange(node: Node, request: NodeChange, image: ImageRef | undefined, options: NodeServiceOptions): NodeUpdate {
  const { hold, carry, group, inherit = [] } = request;
  const { labels, ...said } = request;
  const own = Object.fromEntries(
    Object.entries({
      ...node.own,
      ...ownSettings(said, image),
      ...(labels === undefined ? {} : { labels: joinLabels(node.own.labels, labels) }),
    }).filter(([key]) => !inherit.some((what) => inheritedKeys[what] === key)),
  ) as NodeSettings;
  return {
    own,
    ...(hold === undefined ? {} : { hold }),
    ...(carry === undefined ? {} : { carry: carryFor(node, carry, options) }),
    ...(group === undefined ? {} : { group: group === null || group === everybody ? null : parseGroupName(group.replace(/^@/, '')) }),
  };
}

const inheritedKeys: Readonly<Record<(typeof inheritable)[number], keyof NodeSettings>> = {
  image: 'image',
  overlay: 'overlay',
  overlaySize: 'overlayBytes',
  dataVolume: 'dataBytes',
  authorizedKeys: 'authorizedKeys',
  labels: 'labels',
};

function joinLabels(own: NodeSettings['labels'], change: Readonly<Record<string, string | null>>): Record<string, string> {
  return Object.fromEntries(Object.entries({ ...own, ...change }).filter((entry): entry is [string, string] => entry[1] !== null));
}

/** Paths come from the version that the node booted last; a node without one has nothing to carry. */
function carryFor(node: Node, paths: readonly string[], { sessions }: NodeServiceOptions): Carry {
  const from = sessions.of(node.name)?.digest;
  if (from === undefined || node.overlay !== 'persistent') {
    throw new UserError('bad-input', `${node.name} has no overlay to carry anything over from`, {
      hint: from === undefined ? 'It never booted' : 'Its overlay is ephemeral',
    });
  }
  return { from, paths: paths.map(parseRootPath) };
}

/** The disk itself is made, or grown, at the next boot. @throws UserError bad-input when it would be smaller than it is */
async function checkDataSize(name: NodeName, size: string | null, { data }: NodeServiceOptions): Promise<void> {
  const bytes = size === null ? 0 : parseDiskSize(size);
  const now = await data.of(name);
  if (now && bytes > 0 && bytes < now.virtualBytes) {
    throw new UserError('bad-input', `The data volume of ${name} has ${now.virtualBytes} bytes, and a disk cannot be made smaller`, {
      hint: 'Choose a larger size',
    });
  }
}

type RemovalOptions = Pick<NodeServiceOptions, 'nodes' | 'data' | 'exports' | 'overlays' | 'hostKeys' | 'secrets' | 'sessions' | 'turns'>;

/** With their overlays, keys and histories; with their data volumes as well if that is wanted. */
async function removeNodes(all: readonly NodeName[], withData: boolean, options: RemovalOptions): Promise<object[]> {
  return await options.turns.take(all, 'removal', () => removeInTurn(all, withData, options));
}

async function removeInTurn(all: readonly NodeName[], withData: boolean, options: RemovalOptions): Promise<object[]> {
  const { nodes, data, exports } = options;
  // A node that was removed without its data volume is known by that alone.
  const left = withData ? await data.nodes() : [];
  for (const name of all.filter((one) => left.includes(one))) {
    const directories = [data.directoryOf(name)];
    if ((await exports.isAwaited(directories)) || (await holdersOf(directories)).length > 0) {
      throw new UserError('in-use', `The data volume ${data.pathOf(name)} is in use`, {
        hint: 'Switch its node off first, or leave the data: cardless node rm without --with-data',
      });
    }
  }
  const found = all.filter((name) => nodes.get(name) !== undefined || !left.includes(name)).map((name) => nodes.require(name));
  for (const node of found) {
    await removeNode(node, options);
  }
  for (const name of all.filter((one) => left.includes(one))) {
    await data.remove(name);
  }
  const kept = await data.nodes();
  return all.map((name) => ({ name, ...found.find((node) => node.name === name), dataKept: kept.includes(name) }));
}

/** First nobody can reach its disk any more, and a node that runs will restart, then the registry forgets it, then its files go. */
async function removeNode({ name }: Node, options: RemovalOptions): Promise<void> {
  await options.exports.refuse([options.overlays.directoryOf(name), options.data.directoryOf(name)]);
  options.nodes.remove(name);
  options.sessions.forget(name);
  await options.overlays.remove(name);
  await options.hostKeys.remove(name);
  await options.secrets.removeOf(name);
}

/** Of nodes that are registered no longer; their data volumes stay. */
export async function removeLeftovers(all: readonly NodeName[], options: RemovalOptions): Promise<void> {
  for (const name of all) {
    options.sessions.forget(name);
  }
  for (const name of all) {
    await options.turns.wait(name, 'removal', async () => {
      await options.exports.refuse([options.overlays.directoryOf(name), options.data.directoryOf(name)]);
      await options.overlays.remove(name);
      await options.hostKeys.remove(name);
      await options.secrets.removeOf(name);
    });
  }
}

/** Tokens are the node's alone, even from the operator's listings. */
function withoutSecrets<T extends { token: string; agentKey?: string; content?: object }>({
  token: _token,
  agentKey: _agentKey,
  content: _content,
  ...session
}: T): object {
  return session;
}
