import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { parsed } from '../config/parsed.ts';
import { UserError } from '../domain/errors.ts';
import { parseImageName } from '../domain/image.ts';
import { parseIpv4 } from '../domain/ipv4.ts';
import { type Mac, parseMac } from '../domain/mac.ts';
import { type Node, type NodeName, overlayModes, parseNodeName } from '../domain/node.ts';
import { parseSerial, type Serial, swappedUuid } from '../domain/serial.ts';
import { transaction } from './database.ts';

const Row = z.object({
  name: parsed(parseNodeName),
  serial: parsed(parseSerial).nullable(),
  model: z.string().nullable(),
  address: parsed(parseIpv4).nullable(),
  image: parsed(parseImageName),
  overlay: z.enum(overlayModes),
  reimage: z.number(),
});

const byName = new Intl.Collator('en', { numeric: true });

/** The registry. Every change is on disk when its call returns. */
export class NodeStore {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** In the order people count: red2 before red10. */
  list(): Node[] {
    const rows = this.#database.prepare('SELECT * FROM nodes').all();
    return rows.map((row) => this.#toNode(row)).toSorted((a, b) => byName.compare(a.name, b.name));
  }

  get(name: NodeName): Node | undefined {
    const row = this.#database.prepare('SELECT * FROM nodes WHERE name = ?').get(name);
    return row && this.#toNode(row);
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
    const row = this.#database.prepare('SELECT * FROM nodes WHERE serial IN (?, ?)').get(serial, swappedUuid(serial));
    return row && this.#toNode(row);
  }

  byMac(mac: Mac): Node | undefined {
    const row = this.#database.prepare('SELECT nodes.* FROM nodes JOIN node_macs ON node = name WHERE mac = ?').get(mac);
    return row && this.#toNode(row);
  }

  /** All or none. @throws UserError already-exists */
  add(nodes: readonly Node[]): void {
    transaction(this.#database, () => {
      for (const node of nodes) {
        this.#refuseDuplicate(node);
        this.#database
          .prepare('INSERT INTO nodes (name, serial, model, address, image, overlay, reimage) VALUES (?, ?, ?, ?, ?, ?, ?)')
          .run(node.name, node.serial ?? null, node.model ?? null, node.address ?? null, node.image, node.overlay, node.reimage ? 1 : 0);
        for (const mac of node.macs) {
          this.#database.prepare('INSERT INTO node_macs (mac, node) VALUES (?, ?)').run(mac, node.name);
        }
      }
    });
  }

  update(name: NodeName, change: Partial<Pick<Node, 'image' | 'overlay' | 'reimage' | 'model'>>): void {
    const node = this.get(name);
    if (node) {
      const next = { ...node, ...change };
      this.#database
        .prepare('UPDATE nodes SET image = ?, overlay = ?, reimage = ?, model = ? WHERE name = ?')
        .run(next.image, next.overlay, next.reimage ? 1 : 0, next.model ?? null, name);
    }
  }

  /** A board told its MAC along with its serial. A board that was replaced takes its old MAC with it. */
  learnMac(name: NodeName, mac: Mac): void {
    this.#database
      .prepare('INSERT INTO node_macs (mac, node) VALUES (?, ?) ON CONFLICT (mac) DO UPDATE SET node = excluded.node')
      .run(mac, name);
  }

  /** Leases and boot sessions go with it. */
  remove(name: NodeName): void {
    this.#database.prepare('DELETE FROM nodes WHERE name = ?').run(name);
  }

  #refuseDuplicate(node: Node): void {
    const clash = this.list().find(
      (other) =>
        other.name === node.name ||
        (node.serial !== undefined && (other.serial === node.serial || other.serial === swappedUuid(node.serial))) ||
        (node.address !== undefined && other.address === node.address) ||
        node.macs.some((mac) => other.macs.includes(mac)),
    );
    if (!clash) {
      return;
    }
    const what =
      clash.name === node.name ? `There is a node "${node.name}" already` : `Node "${clash.name}" has that serial, MAC or address already`;
    throw new UserError('already-exists', what, { hint: `cardless node show ${clash.name}` });
  }

  #toNode(raw: unknown): Node {
    const row = Row.parse(raw);
    const macs = this.#database.prepare('SELECT mac FROM node_macs WHERE node = ? ORDER BY mac').all(row.name);
    return {
      name: row.name,
      macs: macs.map((entry) => parseMac(String(entry['mac']))),
      image: row.image,
      overlay: row.overlay,
      reimage: row.reimage !== 0,
      ...(row.serial === null ? {} : { serial: row.serial }),
      ...(row.model === null ? {} : { model: row.model }),
      ...(row.address === null ? {} : { address: row.address }),
    };
  }
}
