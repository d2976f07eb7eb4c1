import { type Answer, decode, encode, type Packet, type RecordType } from 'dns-packet';
import type { Ipv4 } from '#src/domain/ipv4.ts';
import { parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { type DnsDecision, decideDns } from '#src/policy/decide-dns.ts';
import type { Zone } from '#src/policy/dns-zone.ts';
import { encodeDnsReply } from '#src/protocol/dns/answer.ts';
import { decodeDnsQuery } from '#src/protocol/dns/query.ts';

export interface Asked {
  readonly type?: RecordType;
  readonly edns?: boolean;
  readonly flags?: number;
}

/** As a client of somebody else's making writes it. */
export function dnsQuery(name: string, { type = 'A', edns = false, flags = 0x0100 }: Asked = {}): Buffer {
  const opt: Answer = {
    type: 'OPT',
    name: '.',
    udpPayloadSize: 4096,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
  return encode({ type: 'query', id: 4660, flags, questions: [{ name, type }], additionals: edns ? [opt] : [] });
}

const addresses: Readonly<Record<string, Ipv4 | null>> = {
  red5: parseIpv4('10.78.0.20'),
  red6: parseIpv4('10.78.0.21'),
  new: null,
};

export const testZone: Zone = {
  domain: 'cluster.internal',
  server: { name: 'hal', address: parseIpv4('10.78.0.1') },
  subnets: [parseSubnet('10.78.0.0/24'), parseSubnet('10.80.0.0/20')],
  addressOf: (name) => (Object.hasOwn(addresses, name) ? addresses[name] : undefined),
  nameAt: (address) => Object.keys(addresses).find((name) => addresses[name] === address),
  records: [
    { name: 'printer', type: 'A', address: parseIpv4('10.78.0.200') },
    { name: 'www', type: 'CNAME', target: 'red5' },
    { name: 'old', type: 'CNAME', target: 'gone' },
    { name: 'mirror', type: 'CNAME', target: 'deb.example.org' },
    { name: 'circle', type: 'CNAME', target: 'circle2' },
    { name: 'circle2', type: 'CNAME', target: 'circle' },
    { name: '_http._tcp', type: 'SRV', target: 'red6', port: 8080, priority: 0, weight: 5 },
    { name: 'about.cluster.internal', type: 'TXT', text: ['two', 'strings'] },
  ],
};

export const client: Ipv4 = parseIpv4('10.78.0.20');

export function decideFor(bytes: Buffer, from: Ipv4 = client): DnsDecision {
  return decideDns(decodeDnsQuery(bytes), { client: from, served: testZone.subnets, zone: testZone });
}

/** The answer as a client reads it, or the kind of decision that is none. */
export function answered(name: string, asked: Asked = {}): Packet | string {
  const bytes = dnsQuery(name, asked);
  const decision = decideFor(bytes);
  return decision.kind === 'reply' ? decode(encodeDnsReply(decodeDnsQuery(bytes), decision.reply, 1232)) : decision.kind;
}

/** `red5 30 A 10.78.0.20`. */
export function lines(records: readonly Answer[] | undefined): string[] {
  return (records ?? []).map((record) =>
    'ttl' in record ? `${record.name} ${record.ttl} ${record.type} ${JSON.stringify(record.data)}` : record.type,
  );
}

export function upstreamReply(query: Buffer, answers: readonly Answer[], more: Partial<Packet> = {}): Buffer {
  const { id = 0, questions = [] } = decode(query);
  return encode({ type: 'response', id, flags: 0x8180, questions, answers: [...answers], ...more });
}
