/** The addresses of one interface's subnets: who has which, who was offered which, and which somebody else uses. */
import type { Clock } from '../domain/clock.ts';
import { messageOf } from '../domain/errors.ts';
import { contains, type Ipv4 } from '../domain/ipv4.ts';
import type { Mac } from '../domain/mac.ts';
import type { Node } from '../domain/node.ts';
import type { Logger } from '../log/logger.ts';
import { allocateAddress } from '../policy/allocate-address.ts';
import type { Client } from '../policy/classify-client.ts';
import type { AddressFacts, Keep } from '../policy/decide-dhcp.ts';
import { chooseScope, isRelayed, type Scope } from '../policy/dhcp-scope.ts';
import { addressOption, type DhcpMessage } from '../protocol/dhcp/message.ts';
import { OptionCode } from '../protocol/dhcp/option-code.ts';
import type { DhcpAddresses } from '../servers/dhcp/dhcp-server.ts';
import type { LeaseStore } from '../store/leases.ts';
import type { NodeStore } from '../store/nodes.ts';

const maxRemembered = 8192;
/** How long an address stays out of use after somebody answered for it, and how long a free one counts as looked at. */
const rememberMs = 600_000;

export interface AddressBookOptions {
  /** The first is that of the link itself. */
  readonly scopes: readonly [Scope, ...Scope[]];
  /** This server's own address. */
  readonly own: Ipv4;
  readonly nodes: NodeStore;
  readonly leases: LeaseStore;
  readonly clock: Clock;
  readonly log: Logger;
  /** Who answers for an address on the link. Without it no address is looked at before it is offered. */
  readonly whoHas?: (address: Ipv4) => Promise<Mac | undefined>;
}

export class AddressBook implements DhcpAddresses {
  readonly #options: AddressBookOptions;
  // BOUNDED, each: at most maxRemembered; the oldest is dropped.
  readonly #offers = new Map<Mac, Ipv4>();
  readonly #offeredTo = new Map<Ipv4, Mac>();
  readonly #foreign = new Map<Ipv4, { readonly until: number; readonly why: string }>();
  readonly #free = new Map<Ipv4, number>();
  readonly #probes = new Map<Ipv4, Promise<void>>();

  constructor(options: AddressBookOptions) {
    this.#options = options;
  }

  look(request: DhcpMessage, client: Client, node: Node): AddressFacts & Partial<Scope> {
    const { scopes, leases } = this.#options;
    const scope = chooseScope(request, scopes);
    if (!scope) {
      return {};
    }
    const { mac } = client;
    const lease = leases.addressOf(mac);
    const onRecord = lease !== undefined && contains(scope.subnet, lease) ? { ...scope, current: lease } : scope;
    if (node.address !== undefined && contains(scope.subnet, node.address)) {
      return this.#isForeign(node.address) ? { ...onRecord, isInUse: true } : { ...onRecord, address: node.address };
    }
    // Who replaces a board has its address, so that whatever knows the node by that finds it again.
    const known = lease ?? this.#offers.get(mac) ?? leases.leftBy(node.name, node.macs);
    const asked = known === undefined ? addressOption(request, OptionCode.RequestedIpAddress) : undefined;
    const address = allocateAddress({
      mac,
      pool: scope.pool,
      ...(known === undefined ? {} : { held: known }),
      ...(asked === undefined ? {} : { asked }),
      isTaken: (candidate) => this.#isTaken(candidate, mac, node),
    });
    if (address === undefined || address === lease) {
      return address === undefined ? onRecord : { ...onRecord, address };
    }
    const needsProbe = this.#options.whoHas !== undefined && !isRelayed(request) && !this.#isKnownFree(address);
    return { ...onRecord, address, isNew: address !== known, needsProbe };
  }

  keep({ address, durable }: Keep, client: Client, node: Node): Promise<void> | undefined {
    const { leases } = this.#options;
    if (durable) {
      this.#forgetOffer(client.mac);
      return leases.keepSoon(client.mac, address, node.name);
    }
    if (leases.addressOf(client.mac) !== address) {
      this.#offer(client.mac, address);
    }
    return undefined;
  }

  decline(address: Ipv4, client: Client): void {
    const { leases, log, nodes } = this.#options;
    const isTheirs = [leases.addressOf(client.mac), this.#offers.get(client.mac), nodes.byMac(client.mac)?.address].includes(address);
    if (isTheirs) {
      log.warn({ address, mac: client.mac }, 'address declined: another machine uses it');
      this.#setAside(address, `declined by ${client.mac}`);
      if (leases.addressOf(client.mac) === address) {
        void leases.dropSoon(client.mac);
      }
    }
  }

  async probe(address: Ipv4, client: Client): Promise<void> {
    // Nobody else is to be offered it meanwhile.
    this.#offer(client.mac, address);
    const running = this.#probes.get(address) ?? this.#probe(address, client.mac).finally(() => this.#probes.delete(address));
    this.#probes.set(address, running);
    await running;
  }

  /** Addresses that are set aside, and why. */
  setAside(): readonly { readonly address: Ipv4; readonly why: string }[] {
    return [...this.#foreign].filter(([address]) => this.#isForeign(address)).map(([address, { why }]) => ({ address, why }));
  }

  async #probe(address: Ipv4, mac: Mac): Promise<void> {
    const { whoHas, log, clock } = this.#options;
    try {
      const owner = await whoHas?.(address);
      if (owner !== undefined && owner !== mac) {
        log.warn({ address, mac: owner }, 'address of the pool is used by another machine');
        this.#setAside(address, `used by ${owner}`);
        return;
      }
    } catch (error) {
      log.warn({ address, reason: messageOf(error) }, 'cannot look whether an address is used');
    }
    remember(this.#free, address, clock.now());
  }

  #isTaken(address: Ipv4, mac: Mac, node: Node): boolean {
    const { own, scopes, leases, nodes } = this.#options;
    const holder = leases.holderOf(address);
    const isLeft = holder !== undefined && leases.nodeOf(address) === node.name && !node.macs.includes(holder);
    const isOthers = (other: Mac | undefined): boolean => other !== undefined && other !== mac;
    const registered = nodes.byAddress(address);
    return (
      address === own ||
      scopes.some(({ router, dns }) => address === router || dns.includes(address)) ||
      (isOthers(holder) && !isLeft) ||
      isOthers(this.#offeredTo.get(address)) ||
      (registered !== undefined && registered.name !== node.name) ||
      this.#isForeign(address)
    );
  }

  #isForeign(address: Ipv4): boolean {
    return (this.#foreign.get(address)?.until ?? 0) > this.#options.clock.now();
  }

  #isKnownFree(address: Ipv4): boolean {
    const at = this.#free.get(address);
    return at !== undefined && this.#options.clock.now() - at < rememberMs;
  }

  #setAside(address: Ipv4, why: string): void {
    remember(this.#foreign, address, { until: this.#options.clock.now() + rememberMs, why });
    this.#free.delete(address);
    const mac = this.#offeredTo.get(address);
    if (mac) {
      this.#forgetOffer(mac);
    }
  }

  #offer(mac: Mac, address: Ipv4): void {
    this.#forgetOffer(mac);
    remember(this.#offers, mac, address);
    remember(this.#offeredTo, address, mac);
  }

  #forgetOffer(mac: Mac): void {
    const address = this.#offers.get(mac);
    this.#offers.delete(mac);
    if (address !== undefined && this.#offeredTo.get(address) === mac) {
      this.#offeredTo.delete(address);
    }
  }
}

function remember<K, V>(map: Map<K, V>, key: K, value: V): void {
  map.delete(key);
  map.set(key, value);
  const oldest = map.keys().next();
  if (map.size > maxRemembered && !oldest.done) {
    map.delete(oldest.value);
  }
}
