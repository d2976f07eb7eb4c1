import type { DatabaseSync } from 'node:sqlite';
import { type Ipv4, parseIpv4 } from '../domain/ipv4.ts';
import { type Mac, parseMac } from '../domain/mac.ts';
import { type NodeName, parseNodeName } from '../domain/node.ts';

/** Which address belongs to which MAC. Kept for as long as the node is registered. */
export class LeaseStore {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  addressOf(mac: Mac): Ipv4 | undefined {
    const row = this.#database.prepare('SELECT address FROM leases WHERE mac = ?').get(mac);
    return row && parseIpv4(String(row['address']));
  }

  holderOf(address: Ipv4): Mac | undefined {
    const row = this.#database.prepare('SELECT mac FROM leases WHERE address = ?').get(address);
    return row && parseMac(String(row['mac']));
  }

  nodeOf(address: Ipv4): NodeName | undefined {
    const row = this.#database.prepare('SELECT node FROM leases WHERE address = ?').get(address);
    return row && parseNodeName(String(row['node']));
  }

  addressesOf(node: NodeName): Ipv4[] {
    const rows = this.#database.prepare('SELECT address FROM leases WHERE node = ?').all(node);
    return rows.map((row) => parseIpv4(String(row['address'])));
  }

  /** On disk when this returns. Writes nothing when nothing changes. */
  keep(mac: Mac, address: Ipv4, node: NodeName): void {
    const changed =
      this.#database.prepare('SELECT 1 FROM leases WHERE mac = ? AND address = ? AND node = ?').get(mac, address, node) === undefined;
    if (changed) {
      // The operator may have written this address for a node whose other NIC held it.
      this.#database.prepare('DELETE FROM leases WHERE address = ? AND mac <> ?').run(address, mac);
      this.#database
        .prepare(
          'INSERT INTO leases (mac, address, node) VALUES (?, ?, ?) ON CONFLICT (mac) DO UPDATE SET address = excluded.address, node = excluded.node',
        )
        .run(mac, address, node);
    }
  }
}
