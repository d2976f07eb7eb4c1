/** Replies from elsewhere: from the cache, or from the first upstream server that has one. */
import type { Clock } from '../../domain/clock.ts';
import type { Ipv4 } from '../../domain/ipv4.ts';
import { type DnsAttempt, dnsAttempts } from '../../policy/dns-attempts.ts';
import { cacheKey, DnsCache, type DnsCacheLimits } from '../../policy/dns-cache.ts';
import { ResponseCode } from '../../protocol/dns/query.ts';
import type { UpstreamQuestion, UpstreamReply } from '../../protocol/dns/relayed.ts';

export interface ForwarderOptions {
  readonly clock: Clock;
  /** Who can be asked now. */
  readonly upstreams: () => Promise<readonly Ipv4[]>;
  readonly ask: (attempt: DnsAttempt, question: UpstreamQuestion) => Promise<UpstreamReply | undefined>;
  readonly limits: DnsCacheLimits & { readonly pending: number };
}

export interface Forwarded {
  readonly reply: UpstreamReply;
  readonly ageSeconds: number;
}

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #cache: DnsCache;
  // BOUNDED: limits.pending; a question beyond it is refused. The same question of several clients is asked once, so that
  // nobody can have many replies open for it and guess one of their ids.
  readonly #pending = new Map<string, Promise<UpstreamReply | undefined>>();
  #last: Ipv4 | undefined;

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#cache = new DnsCache(options.limits);
  }

  get status(): { readonly cached: number; readonly pending: number } {
    return { cached: this.#cache.size, pending: this.#pending.size };
  }

  /** Undefined when nobody has an answer. */
  async resolve(question: UpstreamQuestion): Promise<Forwarded | undefined> {
    const { clock, limits } = this.#options;
    const key = cacheKey(question);
    const known = this.#cache.get(key, clock.now());
    if (known) {
      return known;
    }
    if (!this.#pending.has(key) && this.#pending.size >= limits.pending) {
      return undefined;
    }
    const asking = this.#pending.get(key) ?? this.#ask(key, question);
    const reply = await asking;
    return reply && { reply, ageSeconds: 0 };
  }

  #ask(key: string, question: UpstreamQuestion): Promise<UpstreamReply | undefined> {
    const asking = this.#askInTurn(question).then((reply) => {
      if (reply) {
        this.#cache.put(key, reply, this.#options.clock.now());
      }
      return reply;
    });
    this.#pending.set(key, asking);
    void asking.catch(() => undefined).then(() => this.#pending.delete(key));
    return asking;
  }

  /** A server that fails may be the only one that does; its word is taken when no other has a better one. */
  async #askInTurn(question: UpstreamQuestion): Promise<UpstreamReply | undefined> {
    let worst: UpstreamReply | undefined;
    for (const attempt of dnsAttempts(await this.#options.upstreams(), this.#last)) {
      const reply = await this.#options.ask(attempt, question);
      if (reply && (reply.code === ResponseCode.NoError || reply.code === ResponseCode.NXDomain)) {
        this.#last = attempt.upstream;
        return reply;
      }
      worst = reply ?? worst;
    }
    return worst;
  }
}
