/**
 * Which address belongs to which MAC. Kept for as long as the node is registered, and therefore without times: a lease
 * of ours never lapses under a running root. Reads are answered from memory; what changes is on disk before anyone is
 * told, many changes in one commit.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type Ipv4, parseIpv4 } from '../domain/ipv4.ts';
import { type Mac, parseMac } from '../domain/mac.ts';
import { type NodeName, parseNodeName } from '../domain/node.ts';
import { transaction } from './database.ts';

interface Lease {
  readonly address: Ipv4;
  readonly node: NodeName;
}

interface Group {
  /** In order, for a later one may take over an earlier one's address. Undefined gives the address up. */
  readonly changes: Map<Mac, Lease | undefined>;
  readonly done: Promise<void>;
  readonly settle: { readonly resolve: () => void; readonly reject: (error: unknown) => void };
}

export class LeaseStore {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #deleteByAddress: StatementSync;
  readonly #deleteByMac: StatementSync;
  readonly #soon: (action: () => void) => void;
  // BOUNDED: one per MAC of a registered node.
  readonly #leases = new Map<Mac, Lease>();
  readonly #holders = new Map<Ipv4, Mac>();
  readonly #ofNode = new Map<NodeName, Set<Mac>>();
  #group: Group | undefined;
  #isCommitting = false;

  /** @param soon when a group of changes is written: by default after the packets that have arrived together are read */
  constructor(database: DatabaseSync, soon: (action: () => void) => void = setImmediate) {
    this.#database = database;
    this.#soon = soon;
    this.#insert = database.prepare(
      `INSERT INTO leases (mac, address, node) SELECT ?, ?, name FROM nodes WHERE name = ?
       ON CONFLICT (mac) DO UPDATE SET address = excluded.address, node = excluded.node`,
    );
    this.#deleteByAddress = database.prepare('DELETE FROM leases WHERE address = ? AND mac <> ?');
    this.#deleteByMac = database.prepare('DELETE FROM leases WHERE mac = ?');
    this.#load();
    // Leases go with their node, by the foreign key; SQLite says so here.
    database.function('lease_gone', (mac, node) => {
      const gone = parseMac(String(mac));
      if (!this.#isCommitting && this.#leases.get(gone)?.node === node) {
        this.#forget(gone);
      }
      return null;
    });
    database.exec(
      'CREATE TEMP TRIGGER IF NOT EXISTS lease_gone AFTER DELETE ON main.leases BEGIN SELECT lease_gone(OLD.mac, OLD.node); END',
    );
  }

  addressOf(mac: Mac): Ipv4 | undefined {
    return this.#leases.get(mac)?.address;
  }

  holderOf(address: Ipv4): Mac | undefined {
    return this.#holders.get(address);
  }

  nodeOf(address: Ipv4): NodeName | undefined {
    const mac = this.#holders.get(address);
    return mac && this.#leases.get(mac)?.node;
  }

  addressesOf(node: NodeName): Ipv4[] {
    return [...(this.#ofNode.get(node) ?? [])].flatMap((mac) => this.addressOf(mac) ?? []);
  }

  /** An address of a node whose board is another now. */
  leftBy(node: NodeName, macs: readonly Mac[]): Ipv4 | undefined {
    const gone = [...(this.#ofNode.get(node) ?? [])].find((mac) => !macs.includes(mac));
    return gone && this.addressOf(gone);
  }

  /** On disk when this returns. Writes nothing when nothing changes. */
  keep(mac: Mac, address: Ipv4, node: NodeName): void {
    if (this.keepSoon(mac, address, node)) {
      this.#commit();
    }
  }

  /** Undefined when it is on disk already; else it is when the promise is kept. */
  keepSoon(mac: Mac, address: Ipv4, node: NodeName): Promise<void> | undefined {
    const known = this.#leases.get(mac);
    if (known?.address === address && known.node === node) {
      return this.#group?.changes.has(mac) ? this.#group.done : undefined;
    }
    // The operator may have written this address for a node whose other NIC held it.
    const holder = this.#holders.get(address);
    if (holder !== undefined && holder !== mac) {
      this.#forget(holder);
      // What it was about to get is not to be written either.
      void this.#change(holder, undefined);
    }
    this.#remember(mac, { address, node });
    return this.#change(mac, { address, node });
  }

  /** The address proved to be somebody else's. */
  dropSoon(mac: Mac): Promise<void> | undefined {
    if (!this.#leases.has(mac)) {
      return undefined;
    }
    this.#forget(mac);
    return this.#change(mac, undefined);
  }

  #change(mac: Mac, lease: Lease | undefined): Promise<void> {
    if (!this.#group) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      // Who drops a lease need not wait for it.
      promise.catch(() => {});
      this.#group = { changes: new Map(), done: promise, settle: { resolve, reject } };
      this.#soon(() => this.#commitQuietly());
    }
    this.#group.changes.delete(mac);
    this.#group.changes.set(mac, lease);
    return this.#group.done;
  }

  /** The failure is told to those who wait. */
  #commitQuietly(): void {
    try {
      this.#commit();
    } catch {
      // They have it from the promise.
    }
  }

  #commit(): void {
    const group = this.#group;
    this.#group = undefined;
    if (!group) {
      return;
    }
    this.#isCommitting = true;
    try {
      transaction(this.#database, () => {
        for (const [mac, lease] of group.changes) {
          this.#write(mac, lease);
        }
      });
      group.settle.resolve();
    } catch (error) {
      this.#load();
      group.settle.reject(error);
      throw error;
    } finally {
      this.#isCommitting = false;
    }
  }

  #write(mac: Mac, lease: Lease | undefined): void {
    if (!lease) {
      this.#deleteByMac.run(mac);
      return;
    }
    this.#deleteByAddress.run(lease.address, mac);
    const { changes } = this.#insert.run(mac, lease.address, lease.node);
    if (changes === 0) {
      // The node was removed in the meantime.
      this.#forget(mac);
    }
  }

  #load(): void {
    this.#leases.clear();
    this.#holders.clear();
    this.#ofNode.clear();
    for (const row of this.#database.prepare('SELECT mac, address, node FROM leases').all()) {
      this.#remember(parseMac(String(row['mac'])), {
        address: parseIpv4(String(row['address'])),
        node: parseNodeName(String(row['node'])),
      });
    }
  }

  #remember(mac: Mac, lease: Lease): void {
    this.#forget(mac);
    this.#leases.set(mac, lease);
    this.#holders.set(lease.address, mac);
    this.#ofNode.set(lease.node, (this.#ofNode.get(lease.node) ?? new Set()).add(mac));
  }

  #forget(mac: Mac): void {
    const lease = this.#leases.get(mac);
    this.#leases.delete(mac);
    const left = lease && this.#ofNode.get(lease.node);
    left?.delete(mac);
    if (lease && left?.size === 0) {
      this.#ofNode.delete(lease.node);
    }
    if (lease && this.#holders.get(lease.address) === mac) {
      this.#holders.delete(lease.address);
    }
  }
}
