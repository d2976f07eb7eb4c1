import type { Clock } from '../domain/clock.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { Mac } from '../domain/mac.ts';
import type { Node } from '../domain/node.ts';
import { isPiSerial, type Serial } from '../domain/serial.ts';
import type { Client } from '../policy/classify-client.ts';
import { pi3Oui } from '../policy/client-tables.ts';
import { RateLimit } from '../policy/rate-limit.ts';
import type { LeaseStore } from '../store/leases.ts';
import type { NodeStore } from '../store/nodes.ts';

/** More NICs than any board has, with room for one or two that were replaced. */
const maxMacs = 8;

export interface NodeFinderOptions {
  readonly nodes: NodeStore;
  readonly leases: LeaseStore;
  /** Which MAC really uses an address. */
  readonly neighbours: () => Promise<ReadonlyMap<Ipv4, Mac>>;
  /** Do we give this address away? If not, a lease of it is of another time. */
  readonly isLeased: (address: Ipv4) => boolean;
  readonly clock: Clock;
}

/** Which node is behind a packet. */
export class NodeFinder {
  readonly #options: NodeFinderOptions;

  readonly #learning = new RateLimit({ lines: 1, everyMs: 60_000, maxKeys: 4096 });

  constructor(options: NodeFinderOptions) {
    this.#options = options;
  }

  /** By serial, else by MAC. */
  known(client: Pick<Client, 'mac' | 'serial' | 'class'>): Node | undefined {
    const { nodes } = this.#options;
    const found = client.serial === undefined ? undefined : nodes.bySerial(client.serial);
    return found ?? nodes.byMac(client.mac) ?? (client.class === 'pi3-rom' ? this.#bySerialTail(client.mac) : undefined);
  }

  /**
   * The same; a MAC that comes with a known serial is learnt. Not without end: who makes up MACs for one serial would
   * take the whole pool, and each is a write that waits for the disk.
   */
  find(client: Pick<Client, 'mac' | 'serial' | 'class'>): Node | undefined {
    const { nodes, clock } = this.#options;
    const node = this.known(client);
    if (!node || node.macs.includes(client.mac)) {
      return node;
    }
    if (node.macs.length >= maxMacs) {
      return undefined;
    }
    if (this.#learning.take(client.mac, clock.now()).kind === 'pass') {
      nodes.learnMac(node.name, client.mac);
    }
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
  mayBe(node: Node, mac: Mac, mayLearn: boolean): boolean {
    const known = this.#options.nodes.byMac(mac);
    if (known || node.macs.length > 0) {
      return known?.name === node.name;
    }
    if (mayLearn) {
      this.#options.nodes.learnMac(node.name, mac);
    }
    return mayLearn;
  }

  /** Our own lease, else what the link's neighbours say: an address alone proves nothing. */
  async ownerOf(peer: Ipv4): Promise<Mac | undefined> {
    const { leases, neighbours, isLeased } = this.#options;
    const holder = isLeased(peer) ? leases.holderOf(peer) : undefined;
    return holder ?? (await neighbours()).get(peer);
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
