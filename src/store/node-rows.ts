/** A node as a row of the database, and as what holds for it. */
import { z } from 'zod';
import { parsed } from '../config/parsed.ts';
import type { Group, GroupName } from '../domain/group.ts';
import { parseGroupName } from '../domain/group.ts';
import { parseImageDigest } from '../domain/image.ts';
import type { ImageRef } from '../domain/image-ref.ts';
import { inheritSettings } from '../domain/inherit-settings.ts';
import { type Ipv4, parseIpv4 } from '../domain/ipv4.ts';
import type { Mac } from '../domain/mac.ts';
import { type Node, type NodeRecord, parseNodeName } from '../domain/node.ts';
import type { NodeSettings } from '../domain/node-settings.ts';
import { type Carry, parseRootPath } from '../domain/overlay.ts';
import { parseSerial, type Serial } from '../domain/serial.ts';
import { chainOf, settingsFrom, settingsText } from './fleet.ts';

const CarryRow = z.object({ from: parsed(parseImageDigest), paths: z.array(parsed(parseRootPath)) });

const Row = z.object({
  name: parsed(parseNodeName),
  serial: parsed(parseSerial).nullable(),
  model: z.string().nullable(),
  address: parsed(parseIpv4).nullable(),
  member_of: parsed(parseGroupName).nullable(),
  settings: z.string(),
  reimage: z.number(),
  hold: z.number(),
  carry: z
    .string()
    .transform((text) => CarryRow.parse(JSON.parse(text)))
    .nullable(),
});

/** What may be changed; `null` takes away what a node has. */
export type NodeUpdate = Partial<Pick<NodeRecord, 'own' | 'reimage' | 'model' | 'hold' | 'macs'>> & {
  readonly carry?: Carry | null;
  readonly serial?: Serial | null;
  readonly address?: Ipv4 | null;
  readonly group?: GroupName | null;
};

export const updateNode =
  'UPDATE nodes SET serial = ?, model = ?, address = ?, member_of = ?, settings = ?, reimage = ?, hold = ?, carry = ? WHERE name = ?';

/** What {@link updateNode} wants. */
export function rowOf(node: NodeRecord): (string | number | null)[] {
  const { name, serial = null, model = null, address = null, group = null, own, reimage, hold, carry } = node;
  return [serial, model, address, group, settingsText(own), reimage ? 1 : 0, hold ? 1 : 0, carry ? JSON.stringify(carry) : null, name];
}

export function recordOf(raw: unknown, macs: readonly Mac[]): NodeRecord {
  const row = Row.parse(raw);
  return {
    name: row.name,
    macs,
    own: settingsFrom(row.settings),
    reimage: row.reimage !== 0,
    ...(row.hold === 0 ? {} : { hold: true }),
    ...(row.carry === null ? {} : { carry: row.carry }),
    ...(row.serial === null ? {} : { serial: row.serial }),
    ...(row.model === null ? {} : { model: row.model }),
    ...(row.address === null ? {} : { address: row.address }),
    ...(row.member_of === null ? {} : { group: row.member_of }),
  };
}

export function changed(node: NodeRecord, change: NodeUpdate): NodeRecord {
  const { name, macs, own, reimage, model, hold, carry, serial, address, group } = { ...node, ...change };
  return {
    name,
    macs,
    own,
    reimage,
    ...(model === undefined ? {} : { model }),
    ...(hold ? { hold } : {}),
    ...(carry ? { carry } : {}),
    ...(serial ? { serial } : {}),
    ...(address ? { address } : {}),
    ...(group ? { group } : {}),
  };
}

export interface Inherited {
  readonly groups: readonly Group[];
  readonly everybody: NodeSettings;
  /** Of nodes for which nobody named one. */
  readonly defaultImage: ImageRef;
}

export function withInherited(record: NodeRecord, { groups: all, everybody, defaultImage }: Inherited): Node {
  const groups = chainOf(record.group, all);
  const settings = inheritSettings([everybody, ...groups.map((group) => group.settings).toReversed(), record.own]);
  const { image = defaultImage, overlay = 'persistent', overlayBytes, dataBytes } = settings;
  return {
    ...record,
    settings,
    groups: groups.map(({ name }) => name),
    image,
    overlay,
    ...(overlayBytes === undefined ? {} : { overlayBytes }),
    ...(dataBytes === undefined ? {} : { dataBytes }),
  };
}
