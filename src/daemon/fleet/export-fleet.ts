/** The fleet as a file: the one that was applied last with its comments, brought up to what holds now. */
import { isDeepStrictEqual } from 'node:util';
import { Document, isAlias, isMap, parseDocument, visit } from 'yaml';
import { documentOf, type FleetDocument, type GroupDocument, settingsOf } from '../../config/fleet-document.ts';
import { readFleetFile } from '../../config/fleet-file.ts';
import type { FleetNode } from '../../domain/fleet.ts';
import type { Node } from '../../domain/node.ts';
import type { AppliedFile } from '../../store/fleet.ts';
import type { NodeStore } from '../../store/nodes.ts';
import { expandFleet } from './expand-fleet.ts';

const empty: AppliedFile = {
  text: '# What holds for all nodes, for groups, and for single nodes. cardless apply -f takes it.\n{}\n',
  sources: {},
};

/** What was not changed since stands as it was written, with ranges and comments; the rest is written anew. */
export function exportFleet(nodes: NodeStore): string {
  const { document: applied = empty } = nodes.fleet;
  const yaml = parseDocument(applied.text);
  const written = readFleetFile({ name: 'the applied file', ...applied });
  const file = new EditedFile(hasAliases(yaml) ? new Document(yaml.toJS(), { aliasDuplicateObjects: false }) : yaml);
  putSettings(file, written, nodes);
  putGroups(file, written, nodes);
  putNodes(file, written, nodes);
  const dns = nodes.fleet.dns;
  file.put(['dns', 'records'], written.dns?.records, dns.length === 0 ? undefined : dns);
  return file.text();
}

/** A part that is changed or taken away might be what another one points to. */
function hasAliases(yaml: Document): boolean {
  let found = false;
  visit(yaml, (_key, node) => {
    found ||= isAlias(node);
  });
  return found;
}

class EditedFile {
  readonly #yaml: Document;

  constructor(yaml: Document) {
    this.#yaml = yaml;
    // What is put into `{}` would all be written on its line.
    if (isMap(yaml.contents) && yaml.contents.items.length === 0) {
      yaml.contents.flow = false;
    }
  }

  /** Undefined is nothing at all. */
  put(path: readonly string[], old: unknown, now: unknown): void {
    if (isDeepStrictEqual(old, now)) {
      return;
    }
    if (now === undefined) {
      this.#yaml.deleteIn(path);
      return;
    }
    // `nodes:` with nothing behind it is no map yet.
    for (let length = 0; length < path.length; length += 1) {
      const parent = path.slice(0, length);
      if (!isMap(length === 0 ? this.#yaml.contents : this.#yaml.getIn(parent, true))) {
        this.#yaml.setIn(parent, this.#yaml.createNode({}));
      }
    }
    this.#yaml.setIn(path, this.#yaml.createNode(now));
  }

  text(): string {
    return this.#yaml.toString({ lineWidth: 0 });
  }
}

function putSettings(file: EditedFile, written: FleetDocument, { fleet: { everybody } }: NodeStore): void {
  const now = documentOf(everybody);
  file.put(
    ['settings'],
    written.settings && documentOf(settingsOf(written.settings)),
    Object.keys(now).length === 0 && !written.settings ? undefined : now,
  );
}

function putGroups(file: EditedFile, written: FleetDocument, { fleet: { groups } }: NodeStore): void {
  const entryOfGroup = ({ parent, ...settings }: GroupDocument): object => ({
    ...(parent ? { parent } : {}),
    ...documentOf(settingsOf(settings)),
  });
  const before = new Map(Object.entries(written.groups ?? {}).map(([name, group]) => [name, entryOfGroup(group)]));
  for (const { name, parent, settings } of groups) {
    file.put(['groups', name], before.get(name), { ...(parent ? { parent } : {}), ...documentOf(settings) });
    before.delete(name);
  }
  for (const [name, old] of before) {
    file.put(['groups', name], old, undefined);
  }
}

function putNodes(file: EditedFile, written: FleetDocument, nodes: NodeStore): void {
  const { fleet, keyOf } = expandFleet(written);
  const left = new Set(nodes.list().map(({ name }) => name));
  for (const key of Object.keys(written.nodes ?? {})) {
    const listed = fleet.nodes.filter((node) => keyOf.get(node.name) === key);
    const boards = boardsSince(listed, nodes);
    if (boards === 'others') {
      file.put(['nodes', key], key, undefined);
      continue;
    }
    for (const [field, values] of Object.entries(boards)) {
      file.put(['nodes', key, field], undefined, values.length === 1 ? values[0] : values);
    }
    for (const { name } of listed) {
      left.delete(name);
    }
  }
  for (const name of left) {
    file.put(['nodes', name], undefined, entryOf(nodes.require(name)));
  }
}

/**
 * `others` when one of them is gone, or is not what the file says; else the boards that were claimed for them since, if all
 * of them have one of the same kind.
 */
function boardsSince(listed: readonly FleetNode[], nodes: NodeStore): 'others' | Readonly<Record<string, readonly string[]>> {
  const now = listed.map(({ name }) => nodes.get(name));
  const isSame = listed.every((old, index) => {
    const node = now[index];
    return (
      node !== undefined &&
      old.group === node.group &&
      old.address === node.address &&
      isDeepStrictEqual(documentOf(old.own), documentOf(node.own)) &&
      (old.serial === undefined || old.serial === node.serial) &&
      old.macs.every((mac) => node.macs.includes(mac))
    );
  });
  const claimed = listed.some((old, index) => {
    const node = now[index];
    return old.serial === undefined && old.macs.length === 0 && (node?.serial !== undefined || (node?.macs.length ?? 0) > 0);
  });
  if (!isSame || !claimed) {
    return isSame ? {} : 'others';
  }
  const serials = now.flatMap((node) => node?.serial ?? []);
  const macs = now.flatMap((node) => (node?.serial === undefined ? (node?.macs[0] ?? []) : []));
  if (serials.length === listed.length) {
    return { serial: serials };
  }
  return macs.length === listed.length ? { mac: macs } : 'others';
}

/** A MAC that came with a serial is learnt again. */
function entryOf({ serial, macs, address, group, own }: Node): object {
  const [mac] = macs;
  return {
    ...(serial === undefined ? {} : { serial }),
    ...(serial === undefined && mac !== undefined ? { mac } : {}),
    ...(address === undefined ? {} : { ip: address }),
    ...(group === undefined ? {} : { group }),
    ...documentOf(own),
  };
}
