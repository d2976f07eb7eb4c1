/** DHCP on one interface: its addresses, its socket, its server. */
import type { InterfaceSettings } from '../config/schema.ts';
import type { Clock } from '../domain/clock.ts';
import { UserError } from '../domain/errors.ts';
import { type AddressRange, anyAddress, contains, type Ipv4, ipv4FromNumber, ipv4ToNumber, type Subnet } from '../domain/ipv4.ts';
import type { Node } from '../domain/node.ts';
import type { Logger } from '../log/logger.ts';
import type { InterfaceFacts } from '../net/interfaces.ts';
import { openUdpEndpoint, type UdpEndpoint } from '../net/udp-endpoint.ts';
import { allocateAddress } from '../policy/allocate-address.ts';
import type { Client } from '../policy/classify-client.ts';
import { type DhcpReport, DhcpServer } from '../servers/dhcp/dhcp-server.ts';
import type { LeaseStore } from '../store/leases.ts';
import type { NodeStore } from '../store/nodes.ts';
import type { NodeFinder } from './node-finder.ts';
import { orNamePortOwner } from './open-port.ts';

export interface DhcpServiceOptions {
  readonly wanted: InterfaceSettings;
  readonly facts: InterfaceFacts;
  readonly nodes: NodeStore;
  readonly leases: LeaseStore;
  readonly finder: NodeFinder;
  readonly clock: Clock;
  readonly log: Logger;
  readonly leaseSeconds: number;
  readonly httpPort: number;
  readonly report: (report: DhcpReport) => void;
  readonly onBadPacket: () => void;
}

/** @throws UserError when the settings contradict the interface or the port is taken */
export async function startDhcp(options: DhcpServiceOptions): Promise<AsyncDisposable> {
  const { wanted, facts, finder, clock, log } = options;
  const subnet = checkedSubnet(wanted, facts);
  const pool = wanted.pool ?? defaultPool(subnet);
  await using stack = new AsyncDisposableStack();
  const server = new DhcpServer({
    facts: {
      mode: wanted.mode,
      server: facts.address,
      subnet,
      dns: wanted.dns,
      leaseSeconds: options.leaseSeconds,
      ipxeUrl: `http://${facts.address}:${options.httpPort}/ipxe/start`,
      ...(wanted.router ? { router: wanted.router } : {}),
    },
    clock,
    findNode: (client) => finder.find(client),
    reserveAddress: (client, node) => reserveAddress(client, node, { subnet, pool, own: facts.address }, options),
    report: options.report,
    onBadPacket: (reason) => {
      options.onBadPacket();
      log.debug({ reason, interface: facts.name }, 'bad dhcp packet');
    },
  });
  stack.defer(() => server.close());
  const endpoint: UdpEndpoint = await orNamePortOwner('udp', 67, facts.address, async () =>
    openUdpEndpoint({
      interfaceName: facts.name,
      address: anyAddress,
      port: 67,
      onMessage: (data, peer) => server.receive(data, peer.port, endpoint.send),
      onError: (error) => log.warn({ reason: error.message }, 'dhcp socket'),
    }),
  );
  stack.use(endpoint);
  return stack.move();
}

function reserveAddress(
  client: Client,
  node: Node,
  { subnet, pool, own }: { subnet: Subnet; pool: AddressRange; own: Ipv4 },
  { nodes, leases }: DhcpServiceOptions,
): Ipv4 | undefined {
  const registered = new Map(nodes.list().flatMap((other: Node) => (other.address ? [[other.address, other.name] as const] : [])));
  const address = allocateAddress({
    mac: client.mac,
    pool,
    ...(node.address && contains(subnet, node.address) ? { wanted: node.address } : {}),
    ...held(leases.addressOf(client.mac)),
    isTaken: (candidate) => {
      const holder = leases.holderOf(candidate);
      const owner = registered.get(candidate);
      return candidate === own || (holder !== undefined && holder !== client.mac) || (owner !== undefined && owner !== node.name);
    },
  });
  if (address !== undefined) {
    leases.keep(client.mac, address, node.name);
  }
  return address;
}

function held(address: Ipv4 | undefined): { held?: Ipv4 } {
  return address === undefined ? {} : { held: address };
}

/** In mode full we own the subnet, so our own address must be in it. @throws UserError bad-input */
function checkedSubnet(wanted: InterfaceSettings, facts: InterfaceFacts): Subnet {
  const subnet = wanted.subnet ?? facts.subnet;
  if (!contains(subnet, facts.address)) {
    throw new UserError('bad-input', `${facts.name} has the address ${facts.address}, which is not in ${subnet.network}/${subnet.prefix}`, {
      hint: `Give the interface an address of that subnet, or serve ${facts.subnet.network}/${facts.subnet.prefix}`,
    });
  }
  const pool = wanted.pool;
  if (pool && !(contains(subnet, pool.first) && contains(subnet, pool.last))) {
    throw new UserError('bad-input', `The pool ${pool.first}-${pool.last} is not in ${subnet.network}/${subnet.prefix}`);
  }
  return subnet;
}

/** The upper half of the subnet, so that the lower one is left for addresses that people give by hand. */
function defaultPool(subnet: Subnet): AddressRange {
  const first = ipv4ToNumber(subnet.network);
  const size = 2 ** (32 - subnet.prefix);
  return { first: ipv4FromNumber(first + size / 2), last: ipv4FromNumber(first + size - 2) };
}
