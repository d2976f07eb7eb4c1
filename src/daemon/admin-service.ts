/** What the operator's API does: the registry of nodes. */
import type { Settings } from '../config/schema.ts';
import { UserError } from '../domain/errors.ts';
import type { ImageDigest } from '../domain/image.ts';
import type { ImageRef } from '../domain/image-ref.ts';
import { broadcastOf, contains, type Ipv4, parseIpv4, type Subnet } from '../domain/ipv4.ts';
import { parseMac } from '../domain/mac.ts';
import { type Node, type NodeName, parseNodeName } from '../domain/node.ts';
import { type Carry, parseDiskSize, parseRootPath } from '../domain/overlay.ts';
import { expandRange } from '../domain/range.ts';
import { isPiSerial, parseSerial } from '../domain/serial.ts';
import type { DataVolumes } from '../overlays/data-volumes.ts';
import type { OverlayDisks } from '../overlays/overlay-disks.ts';
import type { Turns } from '../overlays/turns.ts';
import { holdersOf } from '../process/disk-holders.ts';
import type { AdminOptions, NodeAdd, NodeChange } from '../servers/http/admin-face.ts';
import type { NodeStore, NodeUpdate } from '../store/nodes.ts';
import type { SessionStore } from '../store/sessions.ts';
import type { BootSessions } from './boot-sessions.ts';
import type { Exports } from './exports.ts';
import type { HostKeys } from './identity.ts';
import type { UnclaimedBoards } from './unclaimed.ts';

export interface AdminServiceOptions {
  readonly settings: Settings;
  readonly nodes: NodeStore;
  readonly sessionStore: SessionStore;
  readonly sessions: BootSessions;
  readonly unclaimed: UnclaimedBoards;
  readonly overlays: OverlayDisks;
  readonly data: DataVolumes;
  readonly exports: Exports;
  readonly turns: Turns;
  readonly hostKeys: HostKeys;
  /** Where a node is or will be found. */
  readonly addressOf: (node: Node) => Ipv4 | undefined;
  /** Subnets whose addresses we give out, and our own address in each. */
  readonly served: readonly { readonly address: Ipv4; readonly subnet: Subnet }[];
  /** What was written as an image. @throws UserError bad-input, not-found */
  readonly imageRef: (text: string, force: boolean) => Promise<ImageRef>;
  /** The versions that a node would boot now: more than one while nobody knows what kind of machine it is. */
  readonly nextImages: (node: Node) => Promise<readonly ImageDigest[]>;
  readonly leaseHolder: (address: Ipv4) => NodeName | undefined;
  readonly status: () => Promise<object>;
}

type AdminService = Omit<AdminOptions, 'images' | 'versions' | 'commits' | 'overlays' | 'jobs' | 'onFailure'>;

export function createAdminService(options: AdminServiceOptions): AdminService {
  const { nodes, sessions, unclaimed } = options;
  const change = (names: string, what: Parameters<NodeStore['update']>[1]): readonly Node[] => {
    const found = findNodes(nodes, names);
    for (const node of found) {
      nodes.update(node.name, what);
    }
    return found.map((node) => nodes.get(node.name) ?? node);
  };
  const view = async (node: Node): Promise<object> => {
    const session = sessions.of(node.name);
    const address = options.addressOf(node);
    const hostKey = await options.hostKeys.known(node.name);
    const volume = await options.data.of(node.name);
    return {
      ...node,
      ...(address === undefined ? {} : { address }),
      state: session ? (session.outcome === 'running' ? session.stage : session.outcome) : 'never booted',
      overlayUsedBytes: await options.overlays.used(node.name),
      ...(volume ? { data: volume } : {}),
      ...(hostKey ? { hostKey: hostKey.publicKey } : {}),
      ...(session ? { boot: withoutSecrets(session) } : {}),
    };
  };
  return {
    status: options.status,
    listNodes: () => Promise.all(nodes.list().map(view)),
    listUnclaimed: () => unclaimed.list(),
    addNodes: async (request) => {
      const wanted = request.image === undefined ? undefined : await options.imageRef(request.image, request.force ?? false);
      const added = nodesToAdd(request, wanted ?? options.settings.defaultImage, options);
      nodes.add(added);
      for (const mac of added.flatMap((node) => node.macs)) {
        unclaimed.forget(mac);
      }
      return added;
    },
    showNodes: (names) =>
      Promise.all(findNodes(nodes, names).map(async (node) => ({ ...(await view(node)), nextImages: await options.nextImages(node) }))),
    changeNodes: async (names, request) => {
      const image = request.image === undefined ? undefined : await options.imageRef(request.image, request.force ?? false);
      const changes = await Promise.all(
        findNodes(nodes, names).map(async (node) => [node.name, await nodeChange(node, request, image, options)] as const),
      );
      for (const [name, what] of changes) {
        nodes.update(name, what);
      }
      return changes.map(([name]) => nodes.require(name));
    },
    reimageNodes: (names) => change(names, { reimage: true }),
    removeNodes: async (names, { withData }) => {
      const all = expandRange(names).map(parseNodeName);
      return await options.turns.take(all, 'removal', () => removeNodes(all, withData, options));
    },
    listBoots: (name) => options.sessionStore.of(nodes.require(parseNodeName(name)).name).map(withoutSecrets),
  };
}

function findNodes(nodes: NodeStore, names: string): Node[] {
  return expandRange(names).map((name) => nodes.require(parseNodeName(name)));
}

function nodesToAdd(request: NodeAdd, image: ImageRef, options: AdminServiceOptions): Node[] {
  const names = expandRange(request.name).map(parseNodeName);
  const serials = paired(request.serial, names, 'serial numbers')?.map(parseSerial);
  const macs = paired(request.mac, names, 'MAC addresses')?.map(parseMac);
  const addresses = paired(request.ip, names, 'addresses')?.map(parseIpv4);
  if (!serials && !macs) {
    throw new UserError('bad-input', 'A node needs a serial number or a MAC address', {
      hint: 'Example: cardless node add red5 --serial 91cdf03d. Boards that already asked: cardless node list --unclaimed',
    });
  }
  for (const address of addresses ?? []) {
    checkAddress(address, options);
  }
  return names.map((name, index) => {
    const [serial, mac, address] = [serials?.[index], macs?.[index], addresses?.[index]];
    return {
      name,
      macs: mac ? [mac] : [],
      image,
      overlay: request.overlay ?? 'persistent',
      reimage: false,
      ...(request.dataSize === undefined ? {} : { dataBytes: request.dataSize === null ? 0 : parseDiskSize(request.dataSize) }),
      ...(serial ? { serial } : {}),
      ...(serial && !isPiSerial(serial) ? { model: 'PC' } : {}),
      ...(address ? { address } : {}),
    };
  });
}

/** The values that go with the names, one each. */
function paired(text: string | undefined, names: readonly NodeName[], what: string): string[] | undefined {
  if (text === undefined) {
    return undefined;
  }
  const values = text.includes('[') ? expandRange(text) : text.split(',');
  if (values.length !== names.length) {
    throw new UserError('bad-input', `${names.length} ${names.length === 1 ? 'name' : 'names'} but ${values.length} ${what} in "${text}"`, {
      hint: 'Both must stand for equally many, for example red[5-7] and 192.168.1.[5-7]',
    });
  }
  return values;
}

function checkAddress(address: Ipv4, { served, leaseHolder }: AdminServiceOptions): void {
  const own = served.find(({ subnet }) => contains(subnet, address));
  if (served.length > 0 && !own) {
    const known = served.map(({ subnet }) => `${subnet.network}/${subnet.prefix}`).join(', ');
    throw new UserError('bad-input', `The address ${address} is outside of every subnet that is served`, { hint: `Served: ${known}` });
  }
  if (own && [own.address, own.subnet.network, broadcastOf(own.subnet)].includes(address)) {
    throw new UserError('bad-input', `The address ${address} is this server's own or stands for the whole subnet`, {
      hint: `Choose another one of ${own.subnet.network}/${own.subnet.prefix}`,
    });
  }
  const holder = leaseHolder(address);
  if (holder !== undefined) {
    throw new UserError('in-use', `The address ${address} was given to ${holder}`, {
      hint: `Choose another one; cardless node show ${holder} tells more`,
    });
  }
}

async function nodeChange(node: Node, request: NodeChange, image: ImageRef | undefined, options: AdminServiceOptions): Promise<NodeUpdate> {
  const { overlay, hold, dataSize, carry } = request;
  return {
    ...(image === undefined ? {} : { image }),
    ...(overlay === undefined ? {} : { overlay }),
    ...(hold === undefined ? {} : { hold }),
    ...(dataSize === undefined ? {} : { dataBytes: await dataBytesFor(node.name, dataSize, options) }),
    ...(carry === undefined ? {} : { carry: carryFor(node, carry, options) }),
  };
}

/** Paths come from the version that the node booted last; a node without one has nothing to carry. */
function carryFor(node: Node, paths: readonly string[], { sessions }: AdminServiceOptions): Carry {
  const from = sessions.of(node.name)?.digest;
  if (from === undefined || node.overlay !== 'persistent') {
    throw new UserError('bad-input', `${node.name} has no overlay to carry anything over from`, {
      hint: from === undefined ? 'It never booted' : 'Its overlay is ephemeral',
    });
  }
  return { from, paths: paths.map(parseRootPath) };
}

/** The disk itself is made, or grown, at the next boot. @throws UserError bad-input when it would be smaller than it is */
async function dataBytesFor(name: NodeName, size: string | null, { data }: AdminServiceOptions): Promise<number> {
  const bytes = size === null ? 0 : parseDiskSize(size);
  const now = await data.of(name);
  if (now && bytes > 0 && bytes < now.virtualBytes) {
    throw new UserError('bad-input', `The data volume of ${name} has ${now.virtualBytes} bytes, and a disk cannot be made smaller`, {
      hint: 'Choose a larger size',
    });
  }
  return bytes;
}

/** Within the turns of all of them. */
async function removeNodes(all: readonly NodeName[], withData: boolean, options: AdminServiceOptions): Promise<object[]> {
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
async function removeNode(node: Node, options: AdminServiceOptions): Promise<void> {
  await options.exports.refuse([options.overlays.directoryOf(node.name), options.data.directoryOf(node.name)]);
  options.nodes.remove(node.name);
  options.sessions.forget(node.name);
  await options.overlays.remove(node.name);
  await options.hostKeys.remove(node.name);
}

/** Tokens are the node's alone, even from the operator's listings. */
function withoutSecrets<T extends { token: string; agentKey?: string }>({ token: _token, agentKey: _agentKey, ...session }: T): object {
  return session;
}
