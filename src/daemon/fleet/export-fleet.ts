/** The fleet as a file: the one that was applied last with its comments, brought up to what holds now. */
import { isDeepStrictEqual } from 'node:util';
import { parseDocument } from 'yaml';
import { documentOf, settingsOf } from '../../config/fleet-document.ts';
import { readFleetFile } from '../../config/fleet-file.ts';
import type { FleetNode } from '../../domain/fleet.ts';
import type { Node, NodeName } from '../../domain/node.ts';
import type { NodeStore } from '../../store/nodes.ts';
import { expandFleet } from './expand-fleet.ts';

const head = '# What holds for all nodes, for groups, and for single nodes. cardless apply -f takes it.\n{}\n';

/** What was not changed since stands as it was written, with ranges and comments; the rest is written anew. */
export function exportFleet(nodes: NodeStore): string {
  const { groups, everybody, dns, document = { text: head, sources: {} } } = nodes.fleet;
  const yaml = parseDocument(document.text);
  const { document: written } = readFleetFile({ name: 'the applied file', ...document });
  const put = (path: readonly string[], old: unknown, now: object, isEmpty = Object.keys(now).length === 0): void => {
    if (isEmpty && old === undefined) {
      return;
    }
    if (isEmpty && path.length === 1) {
      yaml.deleteIn(path);
    } else if (!isDeepStrictEqual(old, now)) {
      yaml.setIn(path, yaml.createNode(now));
    }
  };
  put(['settings'], written.settings && documentOf(settingsOf(written.settings)), documentOf(everybody));
  for (const { name, parent, settings } of groups) {
    const old = written.groups?.[name];
    const was = old && { ...(old.parent ? { parent: old.parent } : {}), ...documentOf(settingsOf(withoutParent(old))) };
    put(['groups', name], was, { ...(parent === undefined ? {} : { parent }), ...documentOf(settings) }, false);
  }
  for (const name of Object.keys(written.groups ?? {}).filter((old) => !groups.some((group) => group.name === old))) {
    yaml.deleteIn(['groups', name]);
  }
  const { fleet, keyOf } = expandFleet(written);
  const left = new Set(nodes.list().map(({ name }) => name));
  for (const key of Object.keys(written.nodes ?? {})) {
    const listed = fleet.nodes.filter((node) => keyOf.get(node.name) === key);
    const boards = serialsFor(listed, nodes);
    if (boards === 'others') {
      yaml.deleteIn(['nodes', key]);
      continue;
    }
    if (boards.length > 0) {
      yaml.setIn(['nodes', key, 'serial'], yaml.createNode(boards.length === 1 ? boards[0] : boards));
    }
    for (const { name } of listed) {
      left.delete(name);
    }
  }
  for (const name of left) {
    put(['nodes', name], undefined, entryOf(nodes.require(name)), false);
  }
  put(['dns', 'records'], written.dns?.records ?? [], dns as object, dns.length === 0 && written.dns === undefined);
  return yaml.toString({ lineWidth: 0 });
}

function withoutParent<T extends { parent?: unknown }>({ parent: _parent, ...settings }: T): Omit<T, 'parent'> {
  return settings;
}

/**
 * `others` when one of them is gone, or is not what the file says; else the serials of boards that were claimed since,
 * none when there are no new ones.
 */
function serialsFor(listed: readonly FleetNode[], nodes: NodeStore): 'others' | string[] {
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
  const claimed = listed.some((old, index) => old.serial === undefined && now[index]?.serial !== undefined);
  const serials = now.flatMap((node) => node?.serial ?? []);
  if (!isSame || (claimed && serials.length < listed.length)) {
    return 'others';
  }
  return claimed ? serials : [];
}

function entryOf({ serial, macs, address, group, own }: Node & { readonly name: NodeName }): object {
  const [mac] = macs;
  return {
    ...(serial === undefined ? {} : { serial }),
    ...(serial === undefined && mac !== undefined ? { mac } : {}),
    ...(address === undefined ? {} : { ip: address }),
    ...(group === undefined ? {} : { group }),
    ...documentOf(own),
  };
}
