/** receive, decode, decide, answer or ask upstream, encode, send. One server per interface, for both of its transports. */
import type { Clock } from '../../domain/clock.ts';
import { DecodeError, messageOf } from '../../domain/errors.ts';
import type { UdpEndpoint, UdpPeer } from '../../net/udp-endpoint.ts';
import { type DnsFacts, decideDns } from '../../policy/decide-dns.ts';
import { RateLimit } from '../../policy/rate-limit.ts';
import { type DnsAnswerRecord, type DnsReply, datagramBytes, encodeDnsReply, readAnswers } from '../../protocol/dns/answer.ts';
import { type DnsQuery, decodeDnsQuery, ResponseCode } from '../../protocol/dns/query.ts';
import { questionOf } from '../../protocol/dns/question.ts';
import { relayReply } from '../../protocol/dns/relayed.ts';
import type { Forwarder } from './forwarder.ts';

/** A query with every option that clients know. */
export const maxQueryBytes = 1232;
const maxStreamBytes = 65_535;
/** A node that starts asks a few dozen. */
const perSecond = 500;
const maxClients = 4096;
/** Replies that one client waits for. */
const maxWaiting = 64;

export interface DnsServerOptions {
  readonly facts: () => Omit<DnsFacts, 'client'>;
  readonly forwarder: Pick<Forwarder, 'resolve'>;
  readonly clock: Clock;
  readonly onBadPacket: (reason: string) => void;
  readonly onFailure: (error: unknown) => void;
}

export class DnsServer {
  readonly #options: DnsServerOptions;
  readonly #rate = new RateLimit({ lines: perSecond, everyMs: 1000, maxKeys: maxClients });
  // BOUNDED: one for each client that waits, and those by the forwarder's limit.
  readonly #waiting = new Map<string, number>();
  #answered = 0;
  #refused = 0;

  constructor(options: DnsServerOptions) {
    this.#options = options;
  }

  get status(): { readonly answered: number; readonly refused: number } {
    return { answered: this.#answered, refused: this.#refused };
  }

  receive(data: Buffer, from: UdpPeer, send: UdpEndpoint['send']): void {
    const query = this.#read(data, from);
    if (query) {
      void this.#handle(query, from, datagramBytes(query), (bytes) => send(bytes, from));
    }
  }

  /** Of a connection. False ends it. */
  receiveStream(data: Buffer, from: UdpPeer, send: (bytes: Buffer) => void): boolean {
    const query = this.#read(data, from);
    if (query) {
      void this.#handle(query, from, maxStreamBytes, send);
    }
    return query !== undefined;
  }

  #read(data: Buffer, { address }: UdpPeer): DnsQuery | undefined {
    const { clock, onBadPacket } = this.#options;
    if (this.#rate.take(address, clock.now()).kind === 'hold') {
      this.#refused += 1;
      return undefined;
    }
    if (data.length > maxQueryBytes) {
      onBadPacket(`${data.length} bytes`);
      return undefined;
    }
    try {
      return decodeDnsQuery(data);
    } catch (error) {
      if (!(error instanceof DecodeError)) {
        throw error;
      }
      onBadPacket(messageOf(error));
      return undefined;
    }
  }

  async #handle(query: DnsQuery, { address }: UdpPeer, maxBytes: number, send: (bytes: Buffer) => void): Promise<void> {
    try {
      const decision = decideDns(query, { ...this.#options.facts(), client: address });
      if (decision.kind === 'silence') {
        this.#refused += 1;
        return;
      }
      this.#answered += 1;
      if (decision.kind === 'reply') {
        send(encodeDnsReply(query, decision.reply, maxBytes));
        return;
      }
      const bytes = await this.#whileWaiting(address, () =>
        decision.kind === 'forward' ? this.#forward(query, maxBytes) : this.#follow(query, decision.target, decision.reply, maxBytes),
      );
      if (bytes) {
        send(bytes);
      }
    } catch (error) {
      this.#options.onFailure(error);
    }
  }

  async #whileWaiting<T>(client: string, work: () => Promise<T>): Promise<T | undefined> {
    const count = this.#waiting.get(client) ?? 0;
    if (count >= maxWaiting) {
      this.#refused += 1;
      return undefined;
    }
    this.#waiting.set(client, count + 1);
    try {
      return await work();
    } finally {
      const left = (this.#waiting.get(client) ?? 1) - 1;
      if (left === 0) {
        this.#waiting.delete(client);
      } else {
        this.#waiting.set(client, left);
      }
    }
  }

  async #forward(query: DnsQuery, maxBytes: number): Promise<Buffer> {
    const { question, edns, checkingOff } = query;
    const asked = { question: question.bytes, wantsSignatures: edns?.wantsSignatures ?? false, checkingOff };
    const found = await this.#options.forwarder.resolve(asked);
    return found ? relayReply(query, found.reply, found.ageSeconds, maxBytes) : encodeDnsReply(query, failed, maxBytes);
  }

  /** The rest of the way behind an alias of ours, which a client leaves to its name server. */
  async #follow(query: DnsQuery, target: string, reply: DnsReply, maxBytes: number): Promise<Buffer> {
    const asked = { question: questionOf(target, query.question.type), wantsSignatures: false, checkingOff: false };
    const found = await this.#options.forwarder.resolve(asked);
    const code = found?.reply.code === ResponseCode.NXDomain ? ResponseCode.NXDomain : ResponseCode.NoError;
    const rest = found ? readAnswers(found.reply.bytes) : [];
    const further = rest.map((record) => ({ ...record, ttl: Math.max(0, record.ttl - (found?.ageSeconds ?? 0)) })) as DnsAnswerRecord[];
    const whole = { ...reply, code, isAuthoritative: false, answers: [...reply.answers, ...further] };
    return encodeDnsReply(query, found ? whole : failed, maxBytes);
  }
}

const failed: DnsReply = { code: ResponseCode.ServFail, isAuthoritative: false, answers: [], authorities: [] };
