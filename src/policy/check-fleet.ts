/** What would be wrong with a fleet as a whole, all of it at once. */
import type { Fleet, FleetNode, FleetProblem } from '../domain/fleet.ts';
import type { Group, GroupName } from '../domain/group.ts';
import { broadcastOf, contains, type Ipv4, type Subnet } from '../domain/ipv4.ts';
import { nearest } from '../domain/nearest.ts';
import type { NodeName } from '../domain/node.ts';
import { swappedUuid } from '../domain/serial.ts';
import { checkDnsRecords } from './check-dns-records.ts';

export interface FleetFacts {
  readonly domain: string;
  /** Subnets whose addresses we give out, and our own address in each. Empty: nobody knows yet. */
  readonly served: readonly { readonly address: Ipv4; readonly subnet: Subnet }[];
  /** Who was given an address by DHCP. */
  readonly leaseHolder: (address: Ipv4) => NodeName | undefined;
}

/** Where a node or a group stands in the file that it came from. */
export type PlaceOf = (kind: 'node' | 'group', name: string) => readonly PropertyKey[];

export interface FleetBefore {
  readonly nodes: readonly FleetNode[];
  readonly groups: readonly Group[];
}

/** Only what a change brings is looked at: a node that no longer fits, in another subnet perhaps, must not stand in the way of others. */

export function checkFleet(
  fleet: Omit<Fleet, 'everybody' | 'dns'> & { readonly dns?: Fleet['dns'] },
  before: FleetBefore,
  facts: FleetFacts,
  placeOf: PlaceOf,
): FleetProblem[] {
  const groups = new Map(fleet.groups.map((group) => [group.name, group]));
  const known = new Map(before.nodes.map((node) => [node.name, node]));
  const had = new Set(before.groups.map(({ name }) => name));
  const left = new Set(fleet.nodes.map(({ name }) => name));
  const isNew = (node: FleetNode, key: 'address' | 'group'): boolean => known.get(node.name)?.[key] !== node[key];
  return [
    ...fleet.groups.flatMap((group) => checkParent(group, groups, placeOf)),
    ...fleet.nodes.flatMap((node) => {
      const loses = node.group !== undefined && had.has(node.group);
      const messages = [
        ...(isNew(node, 'group') || loses ? unknownGroup(node.group, groups) : []),
        ...(isNew(node, 'address') ? checkAddress(node, facts, left) : []),
      ];
      return messages.map((message) => ({ path: placeOf('node', node.name), message: `${node.name}: ${message}` }));
    }),
    ...repeated(fleet.nodes, placeOf),
    ...checkDnsRecords(fleet.dns ?? [], fleet.nodes, facts.domain),
  ];
}

function unknownGroup(name: GroupName | undefined, groups: ReadonlyMap<GroupName, Group>): string[] {
  if (name === undefined || groups.has(name)) {
    return [];
  }
  const meant = nearest(name, [...groups.keys()]);
  return [`there is no group "${name}"${meant === undefined ? '' : `; did you mean "${meant}"?`}`];
}

function checkParent(group: Group, groups: ReadonlyMap<GroupName, Group>, placeOf: PlaceOf): FleetProblem[] {
  const path = placeOf('group', group.name);
  const [missing] = unknownGroup(group.parent, groups);
  if (missing !== undefined) {
    return [{ path, message: `${group.name}: ${missing}` }];
  }
  const chain = [group.name];
  for (let parent = group.parent; parent !== undefined; parent = groups.get(parent)?.parent) {
    if (parent === group.name) {
      const circle = [...chain, parent].join(' -> ');
      // Told once, by the first of them.
      return chain.every((name) => group.name <= name) ? [{ path, message: `these groups inherit from one another: ${circle}` }] : [];
    }
    if (chain.includes(parent)) {
      return [];
    }
    chain.push(parent);
  }
  return [];
}

/** @param left nodes that are there afterwards: the lease of one that goes goes with it */
function checkAddress({ name, address }: FleetNode, { served, leaseHolder }: FleetFacts, left: ReadonlySet<NodeName>): string[] {
  if (address === undefined) {
    return [];
  }
  const own = served.find(({ subnet }) => contains(subnet, address));
  if (served.length > 0 && !own) {
    const known = served.map(({ subnet }) => `${subnet.network}/${subnet.prefix}`).join(', ');
    return [`the address ${address} is outside of every subnet that is served (${known})`];
  }
  if (own && [own.address, own.subnet.network, broadcastOf(own.subnet)].includes(address)) {
    return [`the address ${address} is this server's own or stands for the whole subnet`];
  }
  const holder = leaseHolder(address);
  return holder === undefined || holder === name || !left.has(holder) ? [] : [`the address ${address} was given to ${holder}`];
}

/** The same serial, MAC or address twice. A PC's UUID is the same in both of its byte orders. */
function repeated(nodes: readonly FleetNode[], placeOf: PlaceOf): FleetProblem[] {
  const owners = new Map<string, NodeName>();
  const problems: FleetProblem[] = [];
  const take = (what: string, keys: readonly string[], name: NodeName): void => {
    const before = keys.map((key) => owners.get(key)).find((owner) => owner !== undefined);
    if (before === undefined) {
      for (const key of keys) {
        owners.set(key, name);
      }
    } else {
      problems.push({ path: placeOf('node', name), message: `${name}: ${before} has the ${what} too` });
    }
  };
  for (const { name, serial, macs, address } of nodes) {
    if (serial !== undefined) {
      take(`serial ${serial}`, [serial, swappedUuid(serial)], name);
    }
    for (const mac of macs) {
      take(`MAC ${mac}`, [mac], name);
    }
    if (address !== undefined) {
      take(`address ${address}`, [address], name);
    }
  }
  return problems;
}
