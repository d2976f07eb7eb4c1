/** From the fleet file to the fleet: ranges become nodes, each with its own serial, MAC and address. */
import { type FleetDocument, type GroupDocument, type NodeDocument, settingsOf } from '../../config/fleet-document.ts';
import { UserError } from '../../domain/errors.ts';
import type { Fleet, FleetNode, FleetProblem } from '../../domain/fleet.ts';
import { type Group, parseGroupName } from '../../domain/group.ts';
import { parseIpv4 } from '../../domain/ipv4.ts';
import { parseMac } from '../../domain/mac.ts';
import { type NodeName, parseNodeName } from '../../domain/node.ts';
import { expandRange } from '../../domain/range.ts';
import { parseSerial } from '../../domain/serial.ts';
import { expandNames } from '../../policy/node-set.ts';

export interface ExpandedFleet {
  readonly fleet: Fleet;
  readonly problems: readonly FleetProblem[];
  /** The key under which a node stands in the file. */
  readonly keyOf: ReadonlyMap<NodeName, string>;
}

export function expandFleet(document: FleetDocument): ExpandedFleet {
  const problems: FleetProblem[] = [];
  const groups = Object.entries(document.groups ?? {}).flatMap(([name, entry]) =>
    collect(problems, ['groups', name], () => [toGroup(name, entry)]),
  );
  const keyOf = new Map<NodeName, string>();
  const nodes: FleetNode[] = [];
  for (const [key, entry] of Object.entries(document.nodes ?? {})) {
    const path = ['nodes', key];
    for (const node of expandNode(key, entry, problems)) {
      const before = keyOf.get(node.name);
      if (before === undefined) {
        keyOf.set(node.name, key);
        nodes.push(node);
      } else {
        problems.push({ path, message: `${node.name} stands here and in "${before}"` });
      }
    }
  }
  const everybody = settingsOf(document.settings ?? {});
  return { fleet: { everybody, groups, nodes, dns: document.dns?.records ?? [] }, problems, keyOf };
}

function toGroup(name: string, { parent, ...settings }: GroupDocument): Group {
  return { name: parseGroupName(name), settings: settingsOf(settings), ...(parent === undefined ? {} : { parent }) };
}

function expandNode(key: string, { serial, mac, ip, group, ...settings }: NodeDocument, problems: FleetProblem[]): FleetNode[] {
  const path = ['nodes', key];
  const names = collect(problems, path, () => expandNames(key).map(parseNodeName));
  const values = <T>(field: string, given: string | readonly string[] | undefined, parse: (text: string) => T): (T | undefined)[] => {
    const place = [...path, field];
    const texts = given === undefined ? [] : collect(problems, place, () => paired(given, names, field));
    return texts.map((text) => collect(problems, place, () => [parse(text)])[0]);
  };
  const [serials, macs, addresses] = [values('serial', serial, parseSerial), values('mac', mac, parseMac), values('ip', ip, parseIpv4)];
  const own = settingsOf(settings);
  return names.map((name, index) => {
    const [itsSerial, itsMac, address] = [serials[index], macs[index], addresses[index]];
    return {
      name,
      macs: itsMac === undefined ? [] : [itsMac],
      own,
      ...(itsSerial === undefined ? {} : { serial: itsSerial }),
      ...(address === undefined ? {} : { address }),
      ...(group === undefined ? {} : { group }),
    };
  });
}

/**
 * The values that go with the names, one each: a list, a range, or several ranges joined by commas.
 * @throws UserError bad-input
 */
export function paired(given: string | readonly string[], names: readonly NodeName[], what: string): string[] {
  const texts = typeof given === 'string' ? given.split(/,(?![^[]*\])/) : given;
  const values = texts.flatMap((text) => expandRange(text.trim()));
  if (values.length !== names.length) {
    const shown = typeof given === 'string' ? given : given.join(', ');
    const count = `${names.length} ${names.length === 1 ? 'node' : 'nodes'} but ${values.length} ${values.length === 1 ? 'value' : 'values'}`;
    throw new UserError('bad-input', `${count} for ${what} in "${shown}"`, {
      hint: 'Both must stand for equally many, for example red[5-7] and 192.168.1.[5-7]',
    });
  }
  return values;
}

/** What is wrong is noted, and the rest is looked at all the same. */
function collect<T>(problems: FleetProblem[], path: readonly PropertyKey[], work: () => readonly T[]): readonly T[] {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof UserError)) {
      throw error;
    }
    problems.push({ path, message: error.hint === undefined ? error.message : `${error.message}. ${error.hint}` });
    return [];
  }
}
