/** The network of a benchmark: a name space with the load clients, and one for each server, each on a link of its own. */
import { type Ipv4, parseIpv4, parseSubnet, type Subnet } from '../../domain/ipv4.ts';
import { run } from '../../process/run.ts';
import { insideNamespace, removeLeftovers, removeNamespace } from '../../sim/lab.ts';

/** Where a server is, and where its clients are seen from. The same shape for all, so that their paths are alike. */
export interface Segment {
  readonly namespace: string;
  readonly interfaceName: string;
  readonly subnet: Subnet;
  readonly server: Ipv4;
  /** The relay agent that speaks for DHCP clients. */
  readonly relay: Ipv4;
  /** The clients' end of the link. */
  readonly clientInterface: string;
  /** The first of the addresses that TFTP clients use; no kernel has them. */
  readonly firstClient: Ipv4;
}

const interfaceName = 'eth0';
const firstSecondOctet = 77;

export class BenchNetwork implements AsyncDisposable {
  readonly #clients = `cardless-${process.pid}-load`;
  readonly #namespaces: string[] = [];
  #segments = 0;

  private constructor() {}

  static async create(): Promise<BenchNetwork> {
    await removeLeftovers();
    const network = new BenchNetwork();
    await network.#addNamespace(network.#clients);
    return network;
  }

  async addSegment(): Promise<Segment> {
    const index = this.#segments;
    this.#segments += 1;
    const namespace = `cardless-${process.pid}-server${index}`;
    await this.#addNamespace(namespace);
    const link = `link${index}`;
    const prefix = `10.${firstSecondOctet + index}`;
    await run('ip', ['-n', namespace, 'link', 'add', interfaceName, 'type', 'veth', 'peer', 'name', link, 'netns', this.#clients]);
    await run('ip', ['-n', namespace, 'address', 'add', `${prefix}.0.1/16`, 'dev', interfaceName]);
    await run('ip', ['-n', this.#clients, 'address', 'add', `${prefix}.0.2/16`, 'dev', link]);
    // Else a window would cross this link as one packet (UDP_SEGMENT), which no wire can do.
    await run('ip', ['-n', namespace, 'link', 'set', interfaceName, 'gso_max_segs', '1', 'up']);
    await run('ip', ['-n', this.#clients, 'link', 'set', link, 'up']);
    return {
      namespace,
      interfaceName,
      clientInterface: link,
      subnet: parseSubnet(`${prefix}.0.0/16`),
      server: parseIpv4(`${prefix}.0.1`),
      relay: parseIpv4(`${prefix}.0.2`),
      firstClient: parseIpv4(`${prefix}.1.1`),
    };
  }

  /** A command line that runs where the clients are. */
  atClients(file: string, args: readonly string[]): readonly [string, readonly string[]] {
    return insideNamespace(this.#clients, file, args);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const namespace of this.#namespaces.toReversed()) {
      await removeNamespace(namespace);
    }
  }

  async #addNamespace(namespace: string): Promise<void> {
    await run('ip', ['netns', 'add', namespace]);
    this.#namespaces.push(namespace);
    await run('ip', ['-n', namespace, 'link', 'set', 'lo', 'up']);
  }
}
