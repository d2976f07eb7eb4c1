/** The name server of an interface: its sockets, its facts, and whom it asks. */
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { messageOf } from '../../domain/errors.ts';
import { type Ipv4, parseIpv4 } from '../../domain/ipv4.ts';
import { isNodeName } from '../../domain/node.ts';
import { openUdpEndpoint, type UdpEndpoint } from '../../net/udp-endpoint.ts';
import type { DnsFacts } from '../../policy/decide-dns.ts';
import { upstreamsOf } from '../../policy/dns-attempts.ts';
import { nameServerChanges } from '../../policy/service-changes.ts';
import { DnsServer } from '../../servers/dns/dns-server.ts';
import { Forwarder } from '../../servers/dns/forwarder.ts';
import { listenDnsTcp } from '../../servers/dns/tcp-listener.ts';
import { askUpstream } from '../../servers/dns/upstream.ts';
import { orNamePortOwner } from '../open-port.ts';
import type { RunningService, ServedLink, ServicesOptions } from './services.ts';

const dnsPort = 53;
/** A few thousand questions, while other work keeps us from reading. */
const receiveBufferBytes = 4 * 2 ** 20;
const limits = { entries: 10_000, bytes: 16 * 2 ** 20, pending: 512 };
const usualName = 'cardless';

/** What this machine is called in the domain. */
export function serverName(): string {
  const name = hostname().split('.')[0]?.toLowerCase() ?? '';
  return isNodeName(name) && name !== 'localhost' ? name : usualName;
}

export class NameService {
  readonly #options: ServicesOptions;
  readonly #forwarder: Forwarder;

  constructor(options: ServicesOptions) {
    const { clock } = options;
    this.#options = options;
    this.#forwarder = new Forwarder({
      clock,
      upstreams: () => this.#upstreams(),
      ask: (attempt, question) => askUpstream(attempt, question, clock),
      limits,
    });
  }

  /** @throws UserError in-use */
  async start(link: ServedLink): Promise<RunningService> {
    const { clock, log, settings } = this.#options;
    await using stack = new AsyncDisposableStack();
    let bad = 0;
    const server = new DnsServer({
      clock,
      forwarder: this.#forwarder,
      facts: () => this.#factsOf(link),
      onBadPacket: (reason) => {
        bad += 1;
        log.debug({ reason, interface: link.name }, 'bad dns packet');
      },
      onFailure: (error) => log.error({ err: error, interface: link.name }, 'dns reply could not be made'),
    });
    // The second one is for programs of this machine, whose packets to its own address pass the loopback.
    for (const interfaceName of new Set([link.name, 'lo'])) {
      const endpoint: UdpEndpoint = await orNamePortOwner('udp', dnsPort, link.address, async () =>
        openUdpEndpoint({
          interfaceName,
          address: link.address,
          port: dnsPort,
          receiveBufferBytes,
          isBusy: true,
          onMessage: (data, peer) => server.receive(data, peer, endpoint.send),
          onError: (error) => log.debug({ reason: messageOf(error), interface: interfaceName }, 'dns socket'),
        }),
      );
      stack.use(endpoint);
    }
    await orNamePortOwner('tcp', dnsPort, link.address, async () => {
      const onQuery = server.receiveStream.bind(server);
      stack.use(await listenDnsTcp({ address: link.address, port: dnsPort, onQuery }));
    });
    const owned = stack.move();
    return {
      changes: () => nameServerChanges(link.address, settings.domain),
      status: () => ({ ...server.status, ...this.#forwarder.status, badPackets: bad }),
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  }

  #factsOf({ address, subnets }: ServedLink): Omit<DnsFacts, 'client'> {
    const { settings, nodes, addressOf } = this.#options;
    return {
      served: subnets,
      zone: {
        domain: settings.domain,
        server: { name: serverName(), address },
        subnets,
        addressOf: (name) => {
          const node = isNodeName(name) ? nodes.get(name) : undefined;
          return node && (addressOf(node) ?? null);
        },
        nameAt: (at) => this.#nameAt(at),
        records: nodes.fleet.dns,
      },
    };
  }

  #nameAt(address: Ipv4): string | undefined {
    const { nodes, leases, sessions } = this.#options;
    const known = nodes.byAddress(address)?.name ?? leases.nodeOf(address);
    // Boards with an address in their EEPROM ask nobody for it.
    return known ?? nodes.list().find(({ name }) => sessions.of(name)?.address === address)?.name;
  }

  async #upstreams(): Promise<readonly Ipv4[]> {
    const { settings, interfaces } = this.#options;
    if (settings.upstreamDns.length > 0) {
      return settings.upstreamDns;
    }
    // Read again each time: it changes with the networks that this machine is in.
    const text = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
    const own: readonly string[] = interfaces.map(({ facts }) => facts.address);
    return upstreamsOf(text, (address) => own.includes(address)).map(parseIpv4);
  }
}
