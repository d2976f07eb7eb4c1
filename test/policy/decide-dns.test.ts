import type { Packet } from 'dns-packet';
import { describe, expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { answered, decideFor, dnsQuery, lines } from '../support/dns.ts';

const soa = expect.stringMatching(/^cluster\.internal 30 SOA .*"mname":"hal\.cluster\.internal".*"minimum":30/);

function reply(
  name: string,
  asked: Parameters<typeof answered>[1] = {},
): { code: string; answers: string[]; authorities: string[]; aa: boolean } {
  const packet = answered(name, asked) as Packet & { rcode: string; flag_aa: boolean };
  expect(packet).toBeTypeOf('object');
  return { code: packet.rcode, answers: lines(packet.answers), authorities: lines(packet.authorities), aa: packet.flag_aa };
}

describe('names that are there', () => {
  test.each([
    ['red5', 'A', ['red5 30 A "10.78.0.20"']],
    ['red5.cluster.internal', 'A', ['red5.cluster.internal 30 A "10.78.0.20"']],
    ['RED5.Cluster.Internal', 'A', ['red5.cluster.internal 30 A "10.78.0.20"']],
    ['hal.cluster.internal', 'A', ['hal.cluster.internal 30 A "10.78.0.1"']],
    ['printer.cluster.internal', 'A', ['printer.cluster.internal 30 A "10.78.0.200"']],
    ['20.0.78.10.in-addr.arpa', 'PTR', ['20.0.78.10.in-addr.arpa 30 PTR "red5.cluster.internal"']],
    ['1.0.78.10.in-addr.arpa', 'PTR', ['1.0.78.10.in-addr.arpa 30 PTR "hal.cluster.internal"']],
    ['cluster.internal', 'NS', ['cluster.internal 30 NS "hal.cluster.internal"']],
    ['cluster.internal', 'SOA', [soa]],
    ['www.cluster.internal', 'A', ['www.cluster.internal 30 CNAME "red5.cluster.internal"', 'red5.cluster.internal 30 A "10.78.0.20"']],
    ['www.cluster.internal', 'CNAME', ['www.cluster.internal 30 CNAME "red5.cluster.internal"']],
  ] as const)('%s %s', (name, type, want) => {
    expect(reply(name, { type })).toEqual({ code: 'NOERROR', answers: want, authorities: [], aa: true });
  });
  test('SRV and TXT', () => {
    expect(reply('_http._tcp.cluster.internal', { type: 'SRV' }).answers).toEqual([
      expect.stringMatching(/"priority":0,"weight":5,"port":8080,"target":"red6\.cluster\.internal"/),
    ]);
    const packet = answered('about.cluster.internal', { type: 'TXT' }) as Packet;
    expect(packet.answers).toMatchObject([{ data: [Buffer.from('two'), Buffer.from('strings')] }]);
  });
});

describe('what is not there', () => {
  test.each([
    ['a name of ours', 'red9.cluster.internal', 'A', 'NXDOMAIN'],
    ['a service of nobody', '_ftp._tcp.cluster.internal', 'SRV', 'NXDOMAIN'],
    ['another kind of record', 'red5.cluster.internal', 'AAAA', 'NOERROR'],
    ['a node without an address', 'new.cluster.internal', 'A', 'NOERROR'],
    ['what has names below it (RFC 8020)', '_tcp.cluster.internal', 'A', 'NOERROR'],
  ] as const)('%s: %s %s is %s, with the SOA record that says for how long', (_what, name, type, code) => {
    expect(reply(name, { type })).toEqual({ code, answers: [], authorities: [soa], aa: true });
  });
  test('behind an alias: the alias, and the SOA record of what is missing', () => {
    expect(reply('www.cluster.internal', { type: 'AAAA' })).toEqual({
      code: 'NOERROR',
      answers: ['www.cluster.internal 30 CNAME "red5.cluster.internal"'],
      authorities: [soa],
      aa: true,
    });
    expect(reply('old.cluster.internal')).toMatchObject({
      code: 'NXDOMAIN',
      answers: [expect.stringMatching(/CNAME/)],
      authorities: [soa],
    });
  });
  test('an address of ours that nobody has; the zone is that of its octets', () => {
    const found = reply('99.0.78.10.in-addr.arpa', { type: 'PTR' });
    expect(found).toMatchObject({ code: 'NXDOMAIN', authorities: [expect.stringMatching(/^0\.78\.10\.in-addr\.arpa 30 SOA/)] });
    const second = reply('9.15.80.10.in-addr.arpa', { type: 'PTR' });
    expect(second).toMatchObject({ code: 'NXDOMAIN', authorities: [expect.stringMatching(/^15\.80\.10\.in-addr\.arpa 30 SOA/)] });
    expect(reply('x.0.78.10.in-addr.arpa', { type: 'PTR' }).code).toBe('NXDOMAIN');
    expect(reply('0.78.10.in-addr.arpa', { type: 'SOA' }).answers).toHaveLength(1);
  });
  test('a name without a domain is never asked of the root', () => {
    expect(reply('red9')).toEqual({ code: 'NXDOMAIN', answers: [], authorities: [], aa: false });
    expect(answered('red9', { type: 'NS' })).toBe('forward');
  });
  test('aliases in a circle', () => {
    expect(reply('circle.cluster.internal').code).toBe('SERVFAIL');
  });
});

test('names of others are forwarded, and an alias that leads to one is followed there', () => {
  expect(answered('deb.example.org')).toBe('forward');
  expect(answered('1.16.80.10.in-addr.arpa', { type: 'PTR' })).toBe('forward');
  expect(answered('evilcluster.internal')).toBe('forward');
  expect(decideFor(dnsQuery('mirror'))).toMatchObject({
    kind: 'follow',
    target: 'deb.example.org',
    reply: { answers: [{ name: 'mirror', type: 'CNAME' }] },
  });
});

test('a label that is no text is no name of ours, whatever it looks like', () => {
  const dotted = dnsQuery('red5_cluster.internal');
  dotted[dotted.indexOf('_')] = 0x2e;
  expect(decideFor(dotted).kind).toBe('forward');
});

describe('what is refused', () => {
  test('who is not in a subnet that we serve hears nothing, not even for names of ours', () => {
    for (const from of ['192.168.1.7', '10.78.1.20', '127.0.0.1', '8.8.8.8']) {
      expect(decideFor(dnsQuery('red5'), parseIpv4(from))).toEqual({ kind: 'silence', reason: 'not-served' });
      expect(decideFor(dnsQuery('example.org'), parseIpv4(from))).toEqual({ kind: 'silence', reason: 'not-served' });
    }
    expect(decideFor(dnsQuery('red5'), parseIpv4('10.80.15.9')).kind).toBe('reply');
  });
  test.each([
    ['a transfer of the zone', dnsQuery('cluster.internal', { type: 'AXFR' }), 5],
    ['another operation', dnsQuery('red5', { flags: 0x2800 }), 4],
    ['a question to follow the delegations oneself', dnsQuery('example.org', { flags: 0 }), 5],
  ])('%s', (_what, bytes, code) => {
    expect(decideFor(bytes)).toMatchObject({ kind: 'reply', reply: { code, answers: [] } });
  });
  test('an EDNS that is not invented yet (RFC 6891 section 6.1.3)', () => {
    const bytes = dnsQuery('red5', { edns: true });
    bytes.writeUInt8(1, bytes.length - 5);
    expect(decideFor(bytes)).toMatchObject({ kind: 'reply', reply: { code: 16 } });
  });
});
