import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { parsed } from '../config/parsed.ts';
import { UserError } from '../domain/errors.ts';
import { parseImageDigest } from '../domain/image.ts';
import { parseImageRef } from '../domain/image-ref.ts';
import { type Ipv4, parseIpv4 } from '../domain/ipv4.ts';
import { type Mac, parseMac } from '../domain/mac.ts';
import { type Node, type NodeName, overlayModes, parseNodeName } from '../domain/node.ts';
import { type Carry, parseRootPath } from '../domain/overlay.ts';
import { parseSerial, type Serial, swappedUuid } from '../domain/serial.ts';
import { transaction } from './database.ts';

const CarryRow = z.object({ from: parsed(parseImageDigest), paths: z.array(parsed(parseRootPath)) });

const Row = z.object({
  name: parsed(parseNodeName),
  serial: parsed(parseSerial).nullable(),
  model: z.string().nullable(),
  address: parsed(parseIpv4).nullable(),
  image: parsed(parseImageRef),
  overlay: z.enum(overlayModes),
  reimage: z.number(),
  hold: z.number(),
  overlay_bytes: z.number().nullable(),
  data_bytes: z.number().nullable(),
  carry: z
    .string()
    .transform((text) => CarryRow.parse(JSON.parse(text)))
    .nullable(),
});

/** `null` ends what was to be carried over. */
export type NodeUpdate = Partial<Pick<Node, 'image' | 'overlay' | 'reimage' | 'model' | 'hold' | 'overlayBytes' | 'dataBytes'>> & {
  readonly carry?: Carry | null;
};

const byName = new Intl.Collator('en', { numeric: true });

/** The registry, read from memory. Every change is on disk when its call returns. */
export class NodeStore {
  readonly #database: DatabaseSync;
  readonly #nodes = new Map<NodeName, Node>();
  readonly #bySerial = new Map<Serial, NodeName>();
  readonly #byMac = new Map<Mac, NodeName>();
  readonly #byAddress = new Map<Ipv4, NodeName>();
  #list: readonly Node[] | undefined;

  constructor(database: DatabaseSync) {
    this.#database = database;
    const macs = new Map<string, Mac[]>();
    for (const row of database.prepare('SELECT node, mac FROM node_macs ORDER BY mac').all()) {
      const node = String(row['node']);
      macs.set(node, [...(macs.get(node) ?? []), parseMac(String(row['mac']))]);
    }
    for (const row of database.prepare('SELECT * FROM nodes').all()) {
      this.#put(toNode(row, macs.get(String(row['name'])) ?? []));
    }
  }

  /** In the order people count: red2 before red10. */
  list(): readonly Node[] {
    this.#list ??= [...this.#nodes.values()].toSorted((a, b) => byName.compare(a.name, b.name));
    return this.#list;
  }

  get(name: NodeName): Node | undefined {
    return this.#nodes.get(name);
  }

  /** @throws UserError not-found */
  require(name: NodeName): Node {
    const node = this.get(name);
    if (!node) {
      throw new UserError('not-found', `There is no node "${name}"`, { hint: 'cardless node list shows all' });
    }
    return node;
  }

  /** A PC is found under both byte orders of its UUID. */
  bySerial(serial: Serial): Node | undefined {
    return this.#named(this.#bySerial.get(serial) ?? this.#bySerial.get(swappedUuid(serial)));
  }

  byMac(mac: Mac): Node | undefined {
    return this.#named(this.#byMac.get(mac));
  }

  /** For which node the operator wrote this address. */
  byAddress(address: Ipv4): Node | undefined {
    return this.#named(this.#byAddress.get(address));
  }

  /** All or none. @throws UserError already-exists */
  add(nodes: readonly Node[]): void {
    const insertNode = this.#database.prepare(
      'INSERT INTO nodes (name, serial, model, address, image, overlay, reimage, hold, overlay_bytes, data_bytes, carry) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
    );
    const insertMac = this.#database.prepare('INSERT INTO node_macs (mac, node) VALUES (?, ?)');
    const added: Node[] = [];
    try {
      transaction(this.#database, () => {
        for (const node of nodes) {
          this.#refuseDuplicate(node);
          const { name, serial = null, model = null, address = null, image, overlay } = node;
          insertNode.run(name, serial, model, address, image, overlay, node.reimage ? 1 : 0, node.hold ? 1 : 0, ...disksOf(node));
          for (const mac of node.macs) {
            insertMac.run(mac, name);
          }
          this.#put(node);
          added.push(node);
        }
      });
    } catch (error) {
      for (const node of added) {
        this.#drop(node);
      }
      throw error;
    }
  }

  update(name: NodeName, change: NodeUpdate): void {
    const node = this.get(name);
    if (node) {
      const { carry, ...rest } = { ...node, ...change };
      const next: Node = { ...rest, ...(carry ? { carry } : {}) };
      this.#database
        .prepare(
          'UPDATE nodes SET image = ?, overlay = ?, reimage = ?, model = ?, hold = ?, overlay_bytes = ?, data_bytes = ?, carry = ? WHERE name = ?',
        )
        .run(next.image, next.overlay, next.reimage ? 1 : 0, next.model ?? null, next.hold ? 1 : 0, ...disksOf(next), name);
      this.#put(next);
    }
  }

  /** A board told its MAC along with its serial. A board that was replaced takes its old MAC with it. */
  learnMac(name: NodeName, mac: Mac): void {
    this.#database
      .prepare('INSERT INTO node_macs (mac, node) VALUES (?, ?) ON CONFLICT (mac) DO UPDATE SET node = excluded.node')
      .run(mac, name);
    const before = this.byMac(mac);
    if (before) {
      this.#put({ ...before, macs: before.macs.filter((other) => other !== mac) });
    }
    const node = this.get(name);
    if (node) {
      this.#put({ ...node, macs: [...node.macs.filter((other) => other !== mac), mac].toSorted() });
    }
  }

  /** Leases and boot sessions go with it. */
  remove(name: NodeName): void {
    this.#database.prepare('DELETE FROM nodes WHERE name = ?').run(name);
    const node = this.get(name);
    if (node) {
      this.#drop(node);
    }
  }

  #named(name: NodeName | undefined): Node | undefined {
    return name === undefined ? undefined : this.#nodes.get(name);
  }

  #put(node: Node): void {
    const before = this.#nodes.get(node.name);
    if (before) {
      this.#drop(before);
    }
    this.#nodes.set(node.name, node);
    if (node.serial !== undefined) {
      this.#bySerial.set(node.serial, node.name);
    }
    if (node.address !== undefined) {
      this.#byAddress.set(node.address, node.name);
    }
    for (const mac of node.macs) {
      this.#byMac.set(mac, node.name);
    }
    this.#list = undefined;
  }

  #drop(node: Node): void {
    this.#nodes.delete(node.name);
    if (node.serial !== undefined) {
      this.#bySerial.delete(node.serial);
    }
    if (node.address !== undefined) {
      this.#byAddress.delete(node.address);
    }
    for (const mac of node.macs) {
      this.#byMac.delete(mac);
    }
    this.#list = undefined;
  }

  #refuseDuplicate(node: Node): void {
    const clash =
      this.get(node.name) ??
      (node.serial === undefined ? undefined : this.bySerial(node.serial)) ??
      (node.address === undefined ? undefined : this.byAddress(node.address)) ??
      node.macs.map((mac) => this.byMac(mac)).find((other) => other !== undefined);
    if (!clash) {
      return;
    }
    const what =
      clash.name === node.name ? `There is a node "${node.name}" already` : `Node "${clash.name}" has that serial, MAC or address already`;
    throw new UserError('already-exists', what, { hint: `cardless node show ${clash.name}` });
  }
}

function disksOf({ overlayBytes, dataBytes, carry }: Node): (number | string | null)[] {
  return [overlayBytes ?? null, dataBytes ?? null, carry ? JSON.stringify(carry) : null];
}

function toNode(raw: unknown, macs: readonly Mac[]): Node {
  const row = Row.parse(raw);
  return {
    name: row.name,
    macs,
    image: row.image,
    overlay: row.overlay,
    reimage: row.reimage !== 0,
    ...(row.hold === 0 ? {} : { hold: true }),
    ...(row.overlay_bytes === null ? {} : { overlayBytes: row.overlay_bytes }),
    ...(row.data_bytes === null ? {} : { dataBytes: row.data_bytes }),
    ...(row.carry === null ? {} : { carry: row.carry }),
    ...(row.serial === null ? {} : { serial: row.serial }),
    ...(row.model === null ? {} : { model: row.model }),
    ...(row.address === null ? {} : { address: row.address }),
  };
}
