/** receive, decode, look up, decide, encode, send, report. One server per interface. */
import type { Clock } from '../../domain/clock.ts';
import { DecodeError, messageOf } from '../../domain/errors.ts';
import type { Ipv4 } from '../../domain/ipv4.ts';
import type { Node } from '../../domain/node.ts';
import type { UdpEndpoint } from '../../net/udp-endpoint.ts';
import { type Client, classifyClient } from '../../policy/classify-client.ts';
import { type DhcpDecision, type DhcpFacts, decideDhcp, isOurs } from '../../policy/decide-dhcp.ts';
import { replyAddress } from '../../policy/reply-address.ts';
import { replySchedule } from '../../policy/reply-schedule.ts';
import { type DhcpMessage, decodeDhcp, encodeDhcp, MessageType, messageTypeOf } from '../../protocol/dhcp/message.ts';

const clientPort = 68;
const relayPort = 67;

export interface DhcpReport {
  readonly client: Client;
  /** Absent when it is none of ours. */
  readonly node?: Node;
  readonly messageType: number | undefined;
  readonly decision: DhcpDecision;
}

export interface DhcpServerOptions {
  /** What does not depend on the client. */
  readonly facts: Omit<DhcpFacts, 'node' | 'address'>;
  readonly clock: Clock;
  /** The node that this client is, if it is one of ours. */
  readonly findNode: (client: Client) => Node | undefined;
  /** Keeps an address for this MAC, on disk when it returns; undefined when none is left. */
  readonly reserveAddress: (client: Client, node: Node) => Ipv4 | undefined;
  readonly report: (report: DhcpReport) => void;
  readonly onBadPacket: (reason: string) => void;
}

/** Handles datagrams; the socket is the caller's, so tests need none. */
export class DhcpServer {
  readonly #options: DhcpServerOptions;
  readonly #pending = new Set<() => void>();

  constructor(options: DhcpServerOptions) {
    this.#options = options;
  }

  /** @param sourcePort only privileged programs send from a DHCP port: no user of a node can speak for its firmware */
  receive(data: Buffer, sourcePort: number, send: UdpEndpoint['send']): void {
    if (sourcePort !== clientPort && sourcePort !== relayPort) {
      this.#options.onBadPacket(`source port is ${sourcePort}`);
      return;
    }
    let request: DhcpMessage;
    try {
      request = decodeDhcp(data);
    } catch (error) {
      if (error instanceof DecodeError) {
        this.#options.onBadPacket(messageOf(error));
        return;
      }
      throw error;
    }
    const client = classifyClient(request);
    if (!client || !isOurs(request)) {
      return;
    }
    const { facts } = this.#options;
    const node = this.#options.findNode(client);
    const asks = [MessageType.Discover, MessageType.Request].some((type) => type === messageTypeOf(request));
    const address = node && asks && facts.mode === 'full' ? this.#options.reserveAddress(client, node) : undefined;
    const decision = decideDhcp(request, client, { ...facts, ...(node ? { node } : {}), ...(address ? { address } : {}) });
    this.#options.report({ client, ...(node ? { node } : {}), messageType: messageTypeOf(request), decision });
    if (decision.kind !== 'silence') {
      const bytes = encodeDhcp(decision.reply);
      const peer = replyAddress(request, decision.reply);
      for (const delay of replySchedule(client.class, facts.mode)) {
        this.#later(delay, () => send(bytes, peer));
      }
    }
  }

  close(): void {
    for (const cancel of this.#pending) {
      cancel();
    }
    this.#pending.clear();
  }

  #later(ms: number, action: () => void): void {
    if (ms === 0) {
      action();
      return;
    }
    // BOUNDED: only mask ROMs have a schedule, at most three entries within 2.2 s for each DISCOVER.
    const cancel = this.#options.clock.after(ms, () => {
      this.#pending.delete(cancel);
      action();
    });
    this.#pending.add(cancel);
  }
}
