/** receive, decode, look up, decide, keep, encode, send, report. One server per interface. */
import type { Clock } from '../../domain/clock.ts';
import { DecodeError, messageOf } from '../../domain/errors.ts';
import { type Ipv4, limitedBroadcast } from '../../domain/ipv4.ts';
import type { Mac } from '../../domain/mac.ts';
import type { Node } from '../../domain/node.ts';
import type { UdpEndpoint, UdpPeer } from '../../net/udp-endpoint.ts';
import { type Client, classifyClient, type RecentClient, recallClient } from '../../policy/classify-client.ts';
import { type AddressFacts, type DhcpAnswer, type DhcpFacts, decideDhcp, isOurs, type Keep } from '../../policy/decide-dhcp.ts';
import { serverSeen } from '../../policy/detect-rival.ts';
import type { Scope } from '../../policy/dhcp-scope.ts';
import { replyAddress } from '../../policy/reply-address.ts';
import { nudgeSchedule, type RomSchedule, replySchedule } from '../../policy/reply-schedule.ts';
import { type DhcpMessage, decodeDhcp, encodeDhcp, MessageType, messageTypeOf } from '../../protocol/dhcp/message.ts';

/** DHCP clients and relays: ports that only privileged programs send from. */
const clientPorts: readonly number[] = [68, 67];
/** PXE clients ask a boot server from here, as any user may. */
const bootServerPort = 4011;
/** Ten times what any firmware sends. */
const maxRequestBytes = 4096;
const discardPort = 9;
const maxRecent = 4096;
/** More addresses in a row that somebody uses mean that the pool is not ours. */
const maxProbes = 8;

export interface DhcpReport {
  readonly client: Client;
  /** Absent when it is none of ours. */
  readonly node?: Node;
  readonly messageType: number | undefined;
  /** It came to the port of boot servers, which any user of a machine may ask. */
  readonly viaBootServer: boolean;
  readonly decision: DhcpAnswer;
  /** The server that the client chose. */
  readonly chosen?: Ipv4;
}

export interface DhcpAddresses {
  /** What a reply to this machine says of addresses. */
  readonly look: (request: DhcpMessage, client: Client, node: Node) => AddressFacts & Partial<Scope>;
  /** A promise when something has to reach the disk before the reply goes out. */
  readonly keep: (keep: Keep, client: Client, node: Node) => Promise<void> | undefined;
  readonly decline: (address: Ipv4, client: Client) => void;
  /** Settles when it is known whether somebody uses the address; `look` then takes that into account. */
  readonly probe: (address: Ipv4, client: Client) => Promise<void>;
}

export interface DhcpServerOptions {
  /** What does not depend on the client. */
  readonly facts: Omit<DhcpFacts, 'node' | keyof AddressFacts>;
  readonly romSchedule?: RomSchedule;
  readonly clock: Clock;
  /** The node that this client is, if it is one of ours. */
  readonly findNode: (client: Client) => Node | undefined;
  /** The same without learning anything from it. */
  readonly knownNode: (client: Client) => Node | undefined;
  readonly addresses: DhcpAddresses;
  readonly report: (report: DhcpReport) => void;
  readonly onBadPacket: (reason: string) => void;
  /** A reply was not sent because what it promises could not be stored. */
  readonly onFailure: (error: unknown) => void;
}

interface Exchange {
  readonly request: DhcpMessage;
  readonly client: Client;
  readonly node: Node | undefined;
  readonly from: UdpPeer & { readonly ours: 67 | 4011 };
  readonly send: UdpEndpoint['send'];
}

/** Handles datagrams; the sockets are the caller's, so tests need none. */
export class DhcpServer {
  readonly #options: DhcpServerOptions;
  readonly #pending = new Set<() => void>();
  // BOUNDED: at most maxRecent; the oldest is dropped.
  readonly #recent = new Map<Mac, RecentClient>();

  constructor(options: DhcpServerOptions) {
    this.#options = options;
  }

  /**
   * @param from only privileged programs send from a DHCP port: no user of a node can speak for its firmware
   * @param port our port that heard it
   */
  receive(data: Buffer, from: UdpPeer, send: UdpEndpoint['send'], port: 67 | 4011 = 67): void {
    if (!clientPorts.includes(from.port) && !(port === bootServerPort && from.port === bootServerPort)) {
      this.#options.onBadPacket(`source port is ${from.port}`);
      return;
    }
    if (data.length > maxRequestBytes) {
      this.#options.onBadPacket(`${data.length} bytes`);
      return;
    }
    const request = this.#decode(data);
    const said = request && isOurs(request) ? classifyClient(request) : undefined;
    if (!request || !said) {
      return;
    }
    const client = this.#recall(said, request);
    const node = port === bootServerPort ? this.#options.knownNode(client) : this.#options.findNode(client);
    this.#answer({ request, client, node, from: { ...from, ours: port }, send }, 0);
  }

  #answer(exchange: Exchange, probes: number): void {
    const { request, client, node } = exchange;
    const { facts, addresses, report, onFailure } = this.#options;
    const found = node && facts.mode === 'full' ? addresses.look(request, client, node) : {};
    const decision = decideDhcp(request, client, { ...facts, port: exchange.from.ours, ...(node ? { node } : {}), ...found });
    if (decision.kind === 'probe') {
      if (probes < maxProbes) {
        addresses
          .probe(decision.address, client)
          .then(() => this.#answer(exchange, probes + 1))
          .catch(onFailure);
      }
      return;
    }
    const chosen = serverSeen(request);
    const viaBootServer = exchange.from.ours === bootServerPort;
    report({
      client,
      ...(node ? { node } : {}),
      messageType: messageTypeOf(request),
      viaBootServer,
      decision,
      ...(chosen ? { chosen } : {}),
    });
    if (decision.kind === 'silence') {
      if (decision.declined !== undefined) {
        addresses.decline(decision.declined, client);
      }
      return;
    }
    const { reply, keep } = decision;
    const stored = keep && node ? addresses.keep(keep, client, node) : undefined;
    if (stored) {
      stored.then(() => this.#send(exchange, reply)).catch(onFailure);
    } else {
      this.#send(exchange, reply);
    }
  }

  #send({ request, client, from, send }: Exchange, reply: DhcpMessage): void {
    const { facts, romSchedule } = this.#options;
    const bytes = encodeDhcp(reply);
    const peer = replyAddress(request, reply, from);
    for (const delay of replySchedule(client.class, facts.mode, romSchedule)) {
      this.#later(delay, () => send(bytes, peer));
    }
    for (const delay of nudgeSchedule(client.class, facts.mode, romSchedule)) {
      this.#later(delay, () => send(Buffer.alloc(0), { address: limitedBroadcast, port: discardPort }));
    }
  }

  close(): void {
    for (const cancel of this.#pending) {
      cancel();
    }
    this.#pending.clear();
  }

  #decode(data: Buffer): DhcpMessage | undefined {
    try {
      return decodeDhcp(data);
    } catch (error) {
      if (error instanceof DecodeError) {
        this.#options.onBadPacket(messageOf(error));
        return undefined;
      }
      throw error;
    }
  }

  #recall(client: Client, request: DhcpMessage): Client {
    if (client.class !== 'lease' && messageTypeOf(request) === MessageType.Discover) {
      this.#recent.delete(client.mac);
      this.#recent.set(client.mac, { xid: request.xid, client });
      const oldest = this.#recent.keys().next();
      if (this.#recent.size > maxRecent && !oldest.done) {
        this.#recent.delete(oldest.value);
      }
    }
    return recallClient(client, request, this.#recent.get(client.mac));
  }

  #later(ms: number, action: () => void): void {
    if (ms === 0) {
      action();
      return;
    }
    // BOUNDED: only mask ROMs have a schedule, a few entries within seconds for each DISCOVER.
    const cancel = this.#options.clock.after(ms, () => {
      this.#pending.delete(cancel);
      action();
    });
    this.#pending.add(cancel);
  }
}
