/** Registering nodes, by name and range. */
import { isDeepStrictEqual } from 'node:util';
import { UserError } from '../../domain/errors.ts';
import { everybody, parseGroupName } from '../../domain/group.ts';
import type { ImageRef } from '../../domain/image-ref.ts';
import { parseIpv4 } from '../../domain/ipv4.ts';
import { parseMac } from '../../domain/mac.ts';
import { type NodeRecord, parseNodeName } from '../../domain/node.ts';
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
  const wanted = recordsOf(request, image);
  const same = wanted.filter((node) => isAsWanted(node, nodes));
  const added = wanted.filter((node) => !same.includes(node));
  const before = { nodes: nodes.list(), groups: nodes.fleet.groups };
  const problems = checkFleet({ ...before, nodes: [...before.nodes, ...added] }, before, facts, () => []);
  if (problems.length > 0) {
    const lines = problems.map(({ message }) => message);
    throw new UserError('bad-input', lines.length === 1 ? (lines[0] ?? '') : `Nothing was added:\n  ${lines.join('\n  ')}`, {
      hint: 'cardless node list shows all nodes',
    });
  }
  return { added, same };
}

function recordsOf(request: NodeAdd, image: ImageRef | undefined): NodeRecord[] {
  const names = expandNames(request.name).map(parseNodeName);
  const values = (given: string | undefined, what: string): string[] => (given === undefined ? [] : paired(given, names, what));
  const serials = values(request.serial, 'serial numbers').map(parseSerial);
  const macs = values(request.mac, 'MAC addresses').map(parseMac);
  const addresses = values(request.ip, 'addresses').map(parseIpv4);
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

/**
 * True for a node that is there with all that is said about it now.
 * @throws UserError already-exists when it is there and something differs
 */
function isAsWanted(wanted: NodeRecord, nodes: NodeStore): boolean {
  const known = nodes.get(wanted.name);
  if (!known) {
    return false;
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
  if (differs.length > 0) {
    throw new UserError('already-exists', `There is a node "${known.name}" already, with ${differs.join(', ')}`, {
      hint: `cardless node set ${known.name} changes it; another board takes its place with cardless node claim SERIAL --as ${known.name}`,
    });
  }
  return true;
}
