/** Replies from elsewhere, for as long as they hold. Pure: the time is an argument. */

import { ResponseCode } from '../protocol/dns/query.ts';
import type { UpstreamQuestion, UpstreamReply } from '../protocol/dns/relayed.ts';

export interface DnsCacheLimits {
  readonly entries: number;
  readonly bytes: number;
}

/** RFC 2308 section 5 suggests three hours at most for "no"; a name that is new is to be found sooner. */
const maxNegativeSeconds = 900;
const maxSeconds = 86_400;
/** What the map and the numbers of an entry take, roughly. */
const entryBytes = 200;

interface Entry {
  readonly reply: UpstreamReply;
  readonly since: number;
  readonly until: number;
}

export class DnsCache {
  readonly #limits: DnsCacheLimits;
  // BOUNDED: by entries and by bytes; the one used longest ago is dropped.
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(limits: DnsCacheLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string, nowMs: number): { readonly reply: UpstreamReply; readonly ageSeconds: number } | undefined {
    const entry = this.#entries.get(key);
    if (!entry) {
      return undefined;
    }
    this.#drop(key);
    // A clock that was set back makes it neither younger nor valid for longer.
    if (nowMs >= entry.until || nowMs < entry.since) {
      return undefined;
    }
    this.#add(key, entry);
    return { reply: entry.reply, ageSeconds: Math.floor((nowMs - entry.since) / 1000) };
  }

  put(key: string, reply: UpstreamReply, nowMs: number): void {
    const seconds = secondsOf(reply);
    if (seconds > 0) {
      this.#drop(key);
      this.#add(key, { reply, since: nowMs, until: nowMs + seconds * 1000 });
    }
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#limits.entries && this.#bytes <= this.#limits.bytes) {
        break;
      }
      this.#drop(oldest);
    }
  }

  #add(key: string, entry: Entry): void {
    this.#entries.set(key, entry);
    this.#bytes += sizeOf(key, entry);
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key);
    if (entry) {
      this.#entries.delete(key);
      this.#bytes -= sizeOf(key, entry);
    }
  }
}

/** Letters of either case ask the same. */
export function cacheKey({ question, wantsSignatures, checkingOff }: UpstreamQuestion): string {
  return `${wantsSignatures ? 's' : ''}${checkingOff ? 'c' : ''}:${question.toString('latin1').toLowerCase()}`;
}

function secondsOf({ code, ttl, isTruncated, bytes }: UpstreamReply): number {
  const answers = bytes.readUInt16BE(6);
  if (isTruncated || ttl === undefined || (code !== ResponseCode.NoError && code !== ResponseCode.NXDomain)) {
    return 0;
  }
  return Math.min(ttl, answers === 0 ? maxNegativeSeconds : maxSeconds);
}

function sizeOf(key: string, { reply }: Entry): number {
  return key.length + reply.bytes.length + reply.ttlOffsets.length * 8 + entryBytes;
}
