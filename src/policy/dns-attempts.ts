/** Whom to ask, in which order and for how long. */
import type { Ipv4 } from '../domain/ipv4.ts';

export interface DnsAttempt {
  readonly upstream: Ipv4;
  readonly timeoutMs: number;
}

/** Together less than the five seconds after which a C library asks again (resolv.conf(5)). */
const firstRoundMs = 900;
const laterRoundMs = 1500;
const maxAttempts = 4;

/** @param last the one that answered last is asked first: one that is down costs time only once */
export function dnsAttempts(upstreams: readonly Ipv4[], last: Ipv4 | undefined): DnsAttempt[] {
  const order = [...upstreams.filter((upstream) => upstream === last), ...upstreams.filter((upstream) => upstream !== last)];
  const rounds = [firstRoundMs, laterRoundMs].flatMap((timeoutMs) => order.map((upstream) => ({ upstream, timeoutMs })));
  return rounds.slice(0, Math.max(2, Math.min(maxAttempts, rounds.length)));
}

/** The servers that a resolv.conf names, without those that would ask us in turn. */
export function upstreamsOf(resolvConf: string, isOurs: (address: string) => boolean): string[] {
  const named = [...resolvConf.matchAll(/^\s*nameserver\s+(\d+\.\d+\.\d+\.\d+)\s*$/gm)].map(([, address = '']) => address);
  return [...new Set(named)].filter((address) => !isOurs(address)).slice(0, 3);
}
