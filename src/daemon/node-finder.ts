import type { Ipv4 } from '../domain/ipv4.ts';
import type { Mac } from '../domain/mac.ts';
import type { Node } from '../domain/node.ts';
import { isPiSerial, type Serial } from '../domain/serial.ts';
import type { Client } from '../policy/classify-client.ts';
import { pi3Oui } from '../policy/client-tables.ts';
import type { LeaseStore } from '../store/leases.ts';
import type { NodeStore } from '../store/nodes.ts';

/** More NICs than any board has, with room for one or two that were replaced. */
const maxMacs = 8;

export interface NodeFinderOptions {
  readonly nodes: NodeStore;
  readonly leases: LeaseStore;
  /** Which MAC really uses an address. */
  readonly neighbours: () => Promise<ReadonlyMap<Ipv4, Mac>>;
}

/** Which node is behind a packet. */
export class NodeFinder {
  readonly #options: NodeFinderOptions;

  constructor(options: NodeFinderOptions) {
    this.#options = options;
  }

  /**
   * By serial, else by MAC. A MAC that comes with a known serial is learnt, but not without end: who makes up MACs for one
   * serial would take the whole pool.
   */
  find(client: Pick<Client, 'mac' | 'serial' | 'class'>): Node | undefined {
    const { nodes } = this.#options;
    const found = client.serial === undefined ? undefined : nodes.bySerial(client.serial);
    const node = found ?? nodes.byMac(client.mac) ?? (client.class === 'pi3-rom' ? this.#bySerialTail(client.mac) : undefined);
    if (!node || node.macs.includes(client.mac)) {
      return node;
    }
    if (node.macs.length >= maxMacs) {
      return undefined;
    }
    nodes.learnMac(node.name, client.mac);
    return node;
  }

  /** Whose files a name in a serial's directory is of; without a directory, those of the machine that asks. */
  behind(serial: Serial | undefined, owner: Mac | undefined): Node | undefined {
    const { nodes } = this.#options;
    return (serial && nodes.bySerial(serial)) ?? (owner && nodes.byMac(owner));
  }

  /**
   * Is this machine that node? One whose MAC nobody knows yet, because it has a fixed address and never asked by DHCP, is
   * whoever comes first in its name.
   */
  mayBe(node: Node, mac: Mac): boolean {
    const known = this.#options.nodes.byMac(mac);
    if (known || node.macs.length > 0) {
      return known?.name === node.name;
    }
    this.#options.nodes.learnMac(node.name, mac);
    return true;
  }

  /** Our own lease, else what the link's neighbours say: an address alone proves nothing. */
  async ownerOf(peer: Ipv4): Promise<Mac | undefined> {
    return this.#options.leases.holderOf(peer) ?? (await this.#options.neighbours()).get(peer);
  }

  /** The ROM of a 3B keeps its serial to itself, but the last three octets of its MAC are those of its serial. */
  #bySerialTail(mac: Mac): Node | undefined {
    const tail = mac.replaceAll(':', '').slice(6);
    const candidates = this.#options.nodes
      .list()
      .filter(({ serial }) => serial !== undefined && isPiSerial(serial) && serial.slice(2) === tail);
    return mac.startsWith(pi3Oui) && candidates.length === 1 ? candidates[0] : undefined;
  }
}
