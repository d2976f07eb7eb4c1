import type { Answer } from 'dns-packet';
import { describe, expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { dnsAttempts, upstreamsOf } from '#src/policy/dns-attempts.ts';
import { cacheKey, DnsCache } from '#src/policy/dns-cache.ts';
import { questionOf } from '#src/protocol/dns/question.ts';
import { decodeUpstreamReply, type UpstreamReply } from '#src/protocol/dns/relayed.ts';
import { dnsQuery, upstreamReply } from '../support/dns.ts';

function a(ttl: number, name = 'x.example.org'): Answer {
  return { name, type: 'A', ttl, data: '192.0.2.1' };
}
const read = (answers: readonly Answer[], more = {}): UpstreamReply =>
  decodeUpstreamReply(upstreamReply(dnsQuery('x.example.org'), answers, more));
const soa = (ttl: number, minimum: number): Answer => ({
  name: 'example.org',
  type: 'SOA',
  ttl,
  data: { mname: 'a', rname: 'b', serial: 1, refresh: 1, retry: 1, expire: 1, minimum },
});

describe('how long a reply is kept', () => {
  const heldFor = (reply: UpstreamReply): number => {
    const cache = new DnsCache({ entries: 10, bytes: 100_000 });
    cache.put('k', reply, 0);
    let seconds = 0;
    while (seconds < 100_000 && cache.get('k', seconds * 1000) !== undefined) {
      seconds += 10;
    }
    return seconds;
  };
  test.each([
    ['the shortest of its records', read([a(300), a(60)]), 60],
    ['no longer than a day', read([a(1_000_000)]), 86_400],
    ['not at all with a time of 0', read([a(0)]), 0],
    ['"no" as long as the SOA record says', read([], { flags: 0x8183, authorities: [soa(3600, 120)] }), 120],
    ['"no" as long as the SOA record itself holds', read([], { flags: 0x8183, authorities: [soa(50, 1200)] }), 50],
    ['"no" for a quarter of an hour at most', read([], { flags: 0x8183, authorities: [soa(86_400, 86_400)] }), 900],
    ['"no" without a SOA record not at all', read([], { flags: 0x8183 }), 0],
    ['a failure not at all', read([a(300)], { flags: 0x8182 }), 0],
    ['what was cut off not at all', read([a(300)], { flags: 0x8380 }), 0],
  ])('%s', (_what, reply, seconds) => {
    expect(heldFor(reply)).toBe(seconds);
  });
});

test('a clock that was set back makes nothing live longer', () => {
  const cache = new DnsCache({ entries: 10, bytes: 100_000 });
  cache.put('k', read([a(60)]), 1_000_000);
  expect(cache.get('k', 1_030_000)?.ageSeconds).toBe(30);
  expect(cache.get('k', 500_000)).toBeUndefined();
});

test('the number of entries and their bytes are bounded; what was asked for last stays', () => {
  const few = new DnsCache({ entries: 3, bytes: 1_000_000 });
  for (const key of ['a', 'b', 'c']) {
    few.put(key, read([a(60)]), 0);
  }
  few.get('a', 1);
  few.put('d', read([a(60)]), 1);
  expect(['a', 'b', 'c', 'd'].map((key) => few.get(key, 2) !== undefined)).toEqual([true, false, true, true]);
  const small = new DnsCache({ entries: 100_000, bytes: 20_000 });
  for (let index = 0; index < 5000; index += 1) {
    small.put(`key ${index}`, read([a(60)]), 0);
  }
  expect(small.size).toBeGreaterThan(10);
  expect(small.size).toBeLessThan(100);
});

test('letters of either case ask the same; signatures and checking do not', () => {
  const key = (name: string, wantsSignatures = false, checkingOff = false): string =>
    cacheKey({ question: questionOf(name, 1), wantsSignatures, checkingOff });
  expect(key('WWW.Example.org')).toBe(key('www.example.ORG'));
  expect(new Set([key('x'), key('x', true), key('x', false, true), key('y')]).size).toBe(4);
});

describe('whom to ask', () => {
  const [one, two, three] = ['192.0.2.1', '192.0.2.2', '192.0.2.3'].map(parseIpv4) as [never, never, never];
  test('each once, then again with more patience; the one that answered last first', () => {
    expect(dnsAttempts([one, two], undefined).map(({ upstream }) => upstream)).toEqual([one, two, one, two]);
    expect(dnsAttempts([one, two, three], two).map(({ upstream }) => upstream)).toEqual([two, one, three, two]);
    expect(dnsAttempts([one], undefined)).toHaveLength(2);
    expect(dnsAttempts([], undefined)).toEqual([]);
  });
  test('within the five seconds of a C library', () => {
    for (const upstreams of [[one], [one, two], [one, two, three]]) {
      expect(dnsAttempts(upstreams, undefined).reduce((sum, { timeoutMs }) => sum + timeoutMs, 0)).toBeLessThan(5000);
    }
  });
  test('the servers of resolv.conf but for ourselves, IPv6 and more than a C library asks', () => {
    const text =
      '# x\nnameserver 10.78.0.1\n nameserver 127.0.0.53 \nnameserver fe80::1\nnameserver 192.0.2.1\nnameserver 192.0.2.1\nsearch lan\n';
    expect(upstreamsOf(text, (address) => address === '10.78.0.1')).toEqual(['127.0.0.53', '192.0.2.1']);
    expect(upstreamsOf('', () => false)).toEqual([]);
  });
});
