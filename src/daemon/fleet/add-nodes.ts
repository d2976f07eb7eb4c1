/** Registering nodes, by name and range. */
import { isDeepStrictEqual } from 'node:util';
import { UserError } from '../../domain/errors.ts';
import type { FleetProblem } from '../../domain/fleet.ts';
import { everybody, parseGroupName } from '../../domain/group.ts';
import type { ImageRef } from '../../domain/image-ref.ts';
import { parseIpv4 } from '../../domain/ipv4.ts';
import { parseMac } from '../../domain/mac.ts';
import { type Node, type NodeRecord, parseNodeName } from '../../domain/node.ts';
import type { NodeSettings } from '../../domain/node-settings.ts';
import { parseDiskSize } from '../../domain/overlay.ts';
import { parsePublicKey } from '../../domain/public-key.ts';
import { isPiSerial, parseSerial } from '../../domain/serial.ts';
import { checkFleet, type FleetFacts } from '../../policy/check-fleet.ts';
import { expandNames } from '../../policy/node-set.ts';
import type { NodeAdd } from '../../servers/http/admin/node-routes.ts';
import type { NodeStore } from '../../store/nodes.ts';
import { paired } from './expand-fleet.ts';

export interface AddedNodes {
  readonly added: readonly NodeRecord[];
  /** Registered already, just as they are wanted. */
  readonly same: readonly NodeRecord[];
}

/** What a request would add. @throws UserError with all that is wrong */
export function nodesToAdd(request: NodeAdd, image: ImageRef | undefined, nodes: NodeStore, facts: FleetFacts): AddedNodes {
  const errors: UserError[] = [];
  const wanted = recordsOf(request, image, errors);
  const before = { nodes: nodes.list(), groups: nodes.fleet.groups };
  const known = new Map(before.nodes.map((node) => [node.name, node]));
  const same = wanted.filter(({ name }) => known.has(name));
  const added = wanted.filter(({ name }) => !known.has(name));
  const others = same.flatMap((node) => contradiction(node, known.get(node.name)));
  const after = { ...before, nodes: [...before.nodes, ...added], dns: nodes.fleet.dns };
  const lines = [...errors, ...others, ...checkFleet(after, before, facts, () => [])].map(({ message }) => message);
  if (errors[0] && lines.length === 1) {
    throw errors[0];
  }
  if (lines.length > 0) {
    const text = lines.length === 1 ? (lines[0] ?? '') : `Nothing was added:\n  ${lines.join('\n  ')}`;
    throw others.length === lines.length
      ? new UserError('already-exists', text, {
          hint: 'cardless node set changes a node; another board takes its place with cardless node claim SERIAL --as NAME',
        })
      : new UserError('bad-input', text, { hint: 'cardless node list shows all nodes' });
  }
  return { added, same };
}

function recordsOf(request: NodeAdd, image: ImageRef | undefined, errors: UserError[]): NodeRecord[] {
  const names = expandNames(request.name).map(parseNodeName);
  const values = <T>(given: string | undefined, what: string, parse: (text: string) => T): (T | undefined)[] => {
    const texts = given === undefined ? [] : (attempt(errors, () => paired(given, names, what)) ?? []);
    return texts.map((text) => attempt(errors, () => parse(text)));
  };
  const serials = values(request.serial, 'serial numbers', parseSerial);
  const macs = values(request.mac, 'MAC addresses', parseMac);
  const addresses = values(request.ip, 'addresses', parseIpv4);
  const own = ownSettings(request, image);
  const group = request.group === undefined ? undefined : parseGroupName(request.group.replace(/^@/, ''));
  return names.map((name, index) => {
    const [serial, mac, address] = [serials[index], macs[index], addresses[index]];
    return {
      name,
      macs: mac ? [mac] : [],
      own,
      reimage: false,
      ...(serial ? { serial } : {}),
      ...(serial && !isPiSerial(serial) ? { model: 'PC' } : {}),
      ...(address ? { address } : {}),
      ...(group ? { group } : {}),
    };
  });
}

/** What is wrong is noted, and the rest is looked at all the same. */
function attempt<T>(errors: UserError[], work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof UserError)) {
      throw error;
    }
    errors.push(error);
    return undefined;
  }
}

/** What a request says for the nodes themselves. */
export function ownSettings(request: Pick<NodeAdd, 'overlay' | 'dataSize' | 'keys' | 'labels'>, image: ImageRef | undefined): NodeSettings {
  const { overlay, dataSize, keys, labels } = request;
  return {
    ...(image === undefined ? {} : { image }),
    ...(overlay === undefined ? {} : { overlay }),
    ...(dataSize === undefined ? {} : { dataBytes: dataSize === null ? 0 : parseDiskSize(dataSize) }),
    ...(keys === undefined ? {} : { authorizedKeys: keys.map(parsePublicKey) }),
    ...(labels === undefined ? {} : { labels }),
  };
}

/** A node that is there already, and other than it is wanted. */
function contradiction(wanted: NodeRecord, known: Node | undefined): FleetProblem[] {
  if (!known) {
    return [];
  }
  const differs = [
    ...(wanted.serial !== undefined && wanted.serial !== known.serial ? [`the serial ${known.serial ?? '-'}`] : []),
    ...wanted.macs.filter((mac) => !known.macs.includes(mac)).map(() => `the MAC ${known.macs.join(', ') || '-'}`),
    ...(wanted.address !== undefined && wanted.address !== known.address ? [`the address ${known.address ?? '-'}`] : []),
    ...(wanted.group !== undefined && wanted.group !== known.group ? [`the group ${known.group ?? everybody}`] : []),
    ...Object.entries(wanted.own)
      .filter(([key, value]) => !isDeepStrictEqual(known.own[key as keyof NodeSettings], value))
      .map(([key]) => `another ${key}`),
  ];
  return differs.length === 0 ? [] : [{ path: [], message: `There is a node "${known.name}" already, with ${differs.join(', ')}` }];
}
