import type { DatabaseSync } from 'node:sqlite';
import { UserError } from '../domain/errors.ts';
import { type ImageRef, parseImageRef } from '../domain/image-ref.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import { type Mac, parseMac } from '../domain/mac.ts';
import type { Node, NodeName, NodeRecord } from '../domain/node.ts';
import type { NodeSettings } from '../domain/node-settings.ts';
import { type Serial, swappedUuid } from '../domain/serial.ts';
import { transaction } from './database.ts';
import { type FleetFacts, FleetStore } from './fleet.ts';
import { changed, type NodeUpdate, recordOf, rowOf, updateNode, withInherited } from './node-rows.ts';

export type { NodeUpdate } from './node-rows.ts';

/** Of the fleet, in one step. */
export interface FleetChange extends FleetFacts {
  readonly add: readonly NodeRecord[];
  readonly update: readonly { readonly name: NodeName; readonly change: NodeUpdate }[];
  readonly remove: readonly NodeName[];
}

const byName = new Intl.Collator('en', { numeric: true });

/** The registry, read from memory. Every change is on disk when its call returns. */
export class NodeStore {
  readonly #fleet: FleetStore;
  readonly #database: DatabaseSync;
  readonly #defaultImage: ImageRef;
  readonly #nodes = new Map<NodeName, Node>();
  readonly #bySerial = new Map<Serial, NodeName>();
  readonly #byMac = new Map<Mac, NodeName>();
  readonly #byAddress = new Map<Ipv4, NodeName>();
  #list: readonly Node[] | undefined;

  constructor(database: DatabaseSync, defaultImage: ImageRef = parseImageRef('debian-13')) {
    this.#database = database;
    this.#defaultImage = defaultImage;
    this.#fleet = new FleetStore(database);
    this.#load();
  }

  /** What is said about groups, and about all nodes. */
  get fleet(): FleetFacts {
    return this.#fleet.facts;
  }

  /** In the order people count: red2 before red10. */
  list(): readonly Node[] {
    this.#list ??= inOrder(this.#nodes.values());
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
  add(nodes: readonly NodeRecord[]): void {
    this.#change(() => {
      for (const node of nodes) {
        this.#insert(node);
      }
    });
  }

  update(name: NodeName, change: NodeUpdate): void {
    const node = this.get(name);
    if (!node) {
      return;
    }
    if (change.serial !== undefined || change.address !== undefined || change.macs !== undefined) {
      this.#change(() => this.#write(name, change));
    } else {
      this.#save(changed(node, change));
    }
  }

  /** Says something for this node alone, besides what was said before. */
  set(name: NodeName, settings: NodeSettings): void {
    this.update(name, { own: { ...this.require(name).own, ...settings } });
  }

  /** All of it or nothing. @throws UserError already-exists */
  apply({ add, update, remove, ...facts }: FleetChange): void {
    this.#change(() => {
      this.#fleet.write(facts);
      this.#fleet.load();
      for (const name of remove) {
        this.#delete(name);
      }
      // Two nodes may change places: none may be refused for what another one is about to give up.
      for (const { name, change } of update) {
        const { serial, address, macs } = change;
        this.#write(name, {
          ...(serial === undefined ? {} : { serial: null }),
          ...(address === undefined ? {} : { address: null }),
          ...(macs === undefined ? {} : { macs: [] }),
        });
      }
      for (const { name, change } of update) {
        this.#write(name, change);
      }
      for (const node of add) {
        this.#insert(node);
      }
    });
    this.#load();
  }

  /** What {@link apply} would lead to. */
  preview({ add, update, remove, ...facts }: FleetChange): readonly Node[] {
    const records = new Map<NodeName, NodeRecord>(this.#nodes);
    for (const name of remove) {
      records.delete(name);
    }
    for (const { name, change } of update) {
      records.set(name, changed(this.require(name), change));
    }
    for (const record of add) {
      records.set(record.name, record);
    }
    return inOrder([...records.values()].map((record) => withInherited(record, { ...facts, defaultImage: this.#defaultImage })));
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
    this.#delete(name);
  }

  /** In one transaction; when it fails, memory is what the database is. */
  #change(work: () => void): void {
    try {
      transaction(this.#database, work);
    } catch (error) {
      this.#fleet.load();
      this.#load();
      throw error;
    }
  }

  #load(): void {
    for (const index of [this.#nodes, this.#bySerial, this.#byMac, this.#byAddress]) {
      index.clear();
    }
    this.#list = undefined;
    const macs = new Map<string, Mac[]>();
    for (const row of this.#database.prepare('SELECT node, mac FROM node_macs ORDER BY mac').all()) {
      const node = String(row['node']);
      macs.set(node, [...(macs.get(node) ?? []), parseMac(String(row['mac']))]);
    }
    for (const row of this.#database.prepare('SELECT * FROM nodes').all()) {
      this.#put(this.#withInherited(recordOf(row, macs.get(String(row['name'])) ?? [])));
    }
  }

  #insert(node: NodeRecord): void {
    this.#refuseDuplicate(node, [this.get(node.name)]);
    this.#database.prepare('INSERT INTO nodes (name) VALUES (?)').run(node.name);
    this.#save(node);
    this.#saveMacs(node);
  }

  #write(name: NodeName, change: NodeUpdate): void {
    const next = changed(this.require(name), change);
    this.#refuseDuplicate(next, []);
    this.#save(next);
    if (change.macs !== undefined) {
      this.#saveMacs(next);
    }
  }

  #save(record: NodeRecord): void {
    this.#database.prepare(updateNode).run(...rowOf(record));
    this.#put(this.#withInherited(record));
  }

  #withInherited(record: NodeRecord): Node {
    return withInherited(record, { ...this.fleet, defaultImage: this.#defaultImage });
  }

  #saveMacs({ name, macs }: NodeRecord): void {
    this.#database.prepare('DELETE FROM node_macs WHERE node = ?').run(name);
    const insert = this.#database.prepare('INSERT INTO node_macs (mac, node) VALUES (?, ?)');
    for (const mac of macs) {
      insert.run(mac, name);
    }
  }

  #delete(name: NodeName): void {
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

  #refuseDuplicate(node: NodeRecord, sameName: readonly (Node | undefined)[]): void {
    const others = [
      node.serial === undefined ? undefined : this.bySerial(node.serial),
      node.address === undefined ? undefined : this.byAddress(node.address),
      ...node.macs.map((mac) => this.byMac(mac)),
    ];
    const clash = [...sameName, ...others.filter((other) => other?.name !== node.name)].find((other) => other !== undefined);
    if (!clash) {
      return;
    }
    const what =
      clash.name === node.name ? `There is a node "${node.name}" already` : `Node "${clash.name}" has that serial, MAC or address already`;
    throw new UserError('already-exists', what, { hint: `cardless node show ${clash.name}` });
  }
}

function inOrder(nodes: Iterable<Node>): readonly Node[] {
  return [...nodes].toSorted((a, b) => byName.compare(a.name, b.name));
}
