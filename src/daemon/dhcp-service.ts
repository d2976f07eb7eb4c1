/** DHCP on one interface: its addresses, its sockets, its server. */
import type { InterfaceSettings, RelayedSettings, Settings } from '../config/schema.ts';
import type { Clock } from '../domain/clock.ts';
import { DecodeError, messageOf, UserError } from '../domain/errors.ts';
import { type AddressRange, anyAddress, contains, type Ipv4, ipv4FromNumber, ipv4ToNumber, type Subnet } from '../domain/ipv4.ts';
import type { Mac } from '../domain/mac.ts';
import type { Logger } from '../log/logger.ts';
import { askWhoHas } from '../net/arp-probe.ts';
import { watchDhcpReplies } from '../net/dhcp-sniffer.ts';
import type { InterfaceFacts } from '../net/interfaces.ts';
import { ETH_P_IPV6 } from '../net/libc.ts';
import { sendToStation } from '../net/link-sender.ts';
import { openUdpEndpoint, type UdpEndpoint } from '../net/udp-endpoint.ts';
import { serverSeen } from '../policy/detect-rival.ts';
import { type Scope, withOwnServices } from '../policy/dhcp-scope.ts';
import { decodeDhcp } from '../protocol/dhcp/message.ts';
import { noRouterAdvertisement } from '../protocol/ndp/router-advertisement.ts';
import { type DhcpReport, DhcpServer } from '../servers/dhcp/dhcp-server.ts';
import type { LeaseStore } from '../store/leases.ts';
import type { NodeStore } from '../store/nodes.ts';
import { AddressBook } from './address-book.ts';
import type { NodeFinder } from './node-finder.ts';
import { orNamePortOwner } from './open-port.ts';
import { Rivals } from './rivals.ts';

/** Eight thousand requests: a campus that is switched on, while a commit or other work of the machine keeps us from reading. */
const receiveBufferBytes = 8 * 2 ** 20;

export interface DhcpServiceOptions {
  readonly wanted: InterfaceSettings;
  readonly facts: InterfaceFacts;
  readonly nodes: NodeStore;
  readonly leases: LeaseStore;
  readonly finder: NodeFinder;
  readonly clock: Clock;
  readonly log: Logger;
  readonly settings: Pick<Settings, 'leaseSeconds' | 'httpPort' | 'romSchedule' | 'domain'>;
  /** Is this the address of one of our interfaces? */
  readonly isOurs: (address: Ipv4) => boolean;
  readonly report: (report: DhcpReport) => void;
  readonly onBadPacket: () => void;
}

export interface DhcpService extends AsyncDisposable {
  readonly status: () => object;
}

/** @throws UserError when the settings contradict the interface or a port is taken */
export async function startDhcp(options: DhcpServiceOptions): Promise<DhcpService> {
  const { wanted, facts, nodes, leases, finder, clock, log, settings } = options;
  const scopes = scopesOf(wanted, facts, settings.domain);
  await using stack = new AsyncDisposableStack();
  const addresses = new AddressBook({
    scopes,
    own: facts.address,
    nodes,
    leases,
    clock,
    log,
    whoHas: (address) => askWhoHas({ interfaceName: facts.name, address }),
  });
  const rivals = new Rivals({ interfaceName: facts.name, mode: wanted.mode, clock, log });
  const server = new DhcpServer({
    facts: {
      mode: wanted.mode,
      server: facts.address,
      // What depends on the subnet comes with the address.
      dns: [],
      leaseSeconds: settings.leaseSeconds,
      ipxeUrl: `http://${facts.address}:${settings.httpPort}/ipxe/start`,
      programsUrl: `http://${facts.address}:${settings.httpPort}/programs/`,
      uefiLoader: wanted.uefiLoader,
    },
    romSchedule: settings.romSchedule,
    clock,
    findNode: (client) => finder.find(client),
    knownNode: (client) => finder.known(client),
    addresses,
    report: (report) => {
      if (report.chosen !== undefined && !options.isOurs(report.chosen)) {
        rivals.saw(report.chosen);
      }
      if (report.client.class === 'ipxe' && report.decision.kind !== 'silence') {
        tellNoRouter(facts.name, report.client.mac, log);
      }
      options.report(report);
    },
    onBadPacket: (reason) => {
      options.onBadPacket();
      log.debug({ reason, interface: facts.name }, 'bad dhcp packet');
    },
    onFailure: (error) => log.error({ err: error, interface: facts.name }, 'dhcp reply could not be made'),
  });
  stack.defer(() => server.close());
  for (const port of [67, 4011] as const) {
    const endpoint: UdpEndpoint = await orNamePortOwner('udp', port, facts.address, async () =>
      openUdpEndpoint({
        interfaceName: facts.name,
        address: anyAddress,
        port,
        receiveBufferBytes,
        isBusy: true,
        onMessage: (data, peer) => server.receive(data, peer, endpoint.send, port),
        onError: (error) => log.warn({ reason: error.message, port }, 'dhcp socket'),
      }),
    );
    stack.use(endpoint);
  }
  stack.defer(
    watchDhcpReplies({
      interfaceName: facts.name,
      onMessage: (data) => noteServer(data, (address) => !options.isOurs(address) && rivals.saw(address)),
      onError: (error) => log.warn({ interface: facts.name, reason: messageOf(error) }, 'other dhcp servers are no longer watched for'),
    }),
  );
  const owned = stack.move();
  return {
    status: () => ({ setAside: addresses.setAside(), otherDhcpServers: rivals.list() }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/**
 * iPXE boots when IPv4 and IPv6 are both settled (net/ifmgmt.c: ifconf_progress). Where no IPv6 router answers, that takes it
 * sixteen seconds (net/retry.c: from a quarter of a second, doubled up to ten). We boot it by IPv4, so it is told at once.
 */
function tellNoRouter(interfaceName: string, to: Mac, log: Logger): void {
  try {
    sendToStation({ interfaceName, etherType: ETH_P_IPV6, to, packet: (from) => noRouterAdvertisement(from, to) });
  } catch (error) {
    log.debug({ interface: interfaceName, reason: messageOf(error) }, 'iPXE was not told that there is no IPv6 router');
  }
}

function noteServer(data: Buffer, note: (address: Ipv4) => void): void {
  try {
    const address = serverSeen(decodeDhcp(data));
    if (address !== undefined) {
      note(address);
    }
  } catch (error) {
    if (!(error instanceof DecodeError)) {
      throw error;
    }
  }
}

function scopesOf(wanted: InterfaceSettings, facts: InterfaceFacts, domain: string): readonly [Scope, ...Scope[]] {
  const { nameServer, gateway } = wanted;
  const own = { address: facts.address, nameServer, gateway, timeServer: wanted.timeServer !== false, domain };
  const link = scopeOf({ ...wanted, subnet: checkedSubnet(wanted, facts) });
  return [withOwnServices(link, own, true), ...wanted.relayed.map((relayed) => withOwnServices(scopeOf(relayed), own, false))];
}

function scopeOf({ subnet, pool, router, dns }: RelayedSettings): Scope {
  if (pool && !(contains(subnet, pool.first) && contains(subnet, pool.last))) {
    throw new UserError('bad-input', `The pool ${pool.first}-${pool.last} is not in ${subnet.network}/${subnet.prefix}`);
  }
  return { subnet, pool: pool ?? defaultPool(subnet), dns, ...(router ? { router } : {}) };
}

/** In mode full we own the subnet, so our own address must be in it. @throws UserError bad-input */
function checkedSubnet(wanted: InterfaceSettings, facts: InterfaceFacts): Subnet {
  const subnet = wanted.subnet ?? facts.subnet;
  if (!contains(subnet, facts.address)) {
    throw new UserError('bad-input', `${facts.name} has the address ${facts.address}, which is not in ${subnet.network}/${subnet.prefix}`, {
      hint: `Give the interface an address of that subnet, or serve ${facts.subnet.network}/${facts.subnet.prefix}`,
    });
  }
  return subnet;
}

/** The upper half of the subnet, so that the lower one is left for addresses that people give by hand. */
function defaultPool(subnet: Subnet): AddressRange {
  const first = ipv4ToNumber(subnet.network);
  const size = 2 ** (32 - subnet.prefix);
  return { first: ipv4FromNumber(first + size / 2), last: ipv4FromNumber(first + size - 2) };
}
