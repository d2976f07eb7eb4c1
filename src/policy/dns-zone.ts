/** The names that we know ourselves: nodes, this server, the records of the fleet file, and the way back from addresses. */
import type { DnsRecord } from '../domain/fleet.ts';
import { contains, type Ipv4, parseIpv4, type Subnet } from '../domain/ipv4.ts';
import type { DnsAnswerRecord, DnsRecordData } from '../protocol/dns/answer.ts';

/** Nodes move rarely, but then at once. */
export const ourTtl = 30;

export interface Zone {
  readonly domain: string;
  /** As the client that asks sees it. */
  readonly server: { readonly name: string; readonly address: Ipv4 };
  readonly subnets: readonly Subnet[];
  /** Of a node; null when it has none yet, undefined when there is no such node. */
  readonly addressOf: (name: string) => Ipv4 | null | undefined;
  readonly nameAt: (address: Ipv4) => string | undefined;
  readonly records: readonly DnsRecord[];
}

/** What there is at a name, or that it is a name of ours without anything. Undefined: not ours. */
export type ZoneAnswer =
  | { readonly kind: 'found'; readonly records: readonly DnsAnswerRecord[]; readonly soa: DnsAnswerRecord }
  | { readonly kind: 'no-such-name'; readonly soa: DnsAnswerRecord };

/** @param name in lower case */
export function lookUp(name: string, zone: Zone): ZoneAnswer | undefined {
  if (name.endsWith('.in-addr.arpa')) {
    return lookUpAddress(name, zone);
  }
  const label = labelIn(name, zone.domain);
  if (label !== undefined) {
    return answer(recordsAt(label, name, zone), hasNamesBelow(label, zone) || label === '', soaOf(zone.domain, zone));
  }
  if (name.includes('.') || name === '') {
    return undefined;
  }
  // A name without a domain: nodes that search none find each other too.
  const found = recordsAt(name, name, zone);
  return found === undefined ? undefined : answer(found, false, soaOf(zone.domain, zone));
}

/** The part before the domain; empty for the domain itself. */
function labelIn(name: string, domain: string): string | undefined {
  if (name === domain) {
    return '';
  }
  return name.endsWith(`.${domain}`) ? name.slice(0, -domain.length - 1) : undefined;
}

/** Undefined when there is no such name; none when it exists and has nothing yet. */
function recordsAt(label: string, name: string, zone: Zone): DnsAnswerRecord[] | undefined {
  if (label === '') {
    return [soaOf(name, zone), record(name, { type: 'NS', data: serverName(zone) }), ...written(label, name, zone)];
  }
  const node = zone.addressOf(label);
  const own = node ?? (node === undefined && label === zone.server.name ? zone.server.address : undefined);
  const records = [...(own === undefined ? [] : [record(name, { type: 'A', data: own })]), ...written(label, name, zone)];
  return records.length === 0 && node === undefined ? undefined : records;
}

function written(label: string, name: string, zone: Zone): DnsAnswerRecord[] {
  return zone.records.flatMap((entry) => (relativeName(entry.name, zone.domain) === label ? [record(name, dataOf(entry, zone))] : []));
}

/** RFC 8020: what has names below it exists, even if nothing is said about it. */
function hasNamesBelow(label: string, zone: Zone): boolean {
  return zone.records.some((entry) => relativeName(entry.name, zone.domain).endsWith(`.${label}`));
}

function answer(records: readonly DnsAnswerRecord[] | undefined, exists: boolean, soa: DnsAnswerRecord): ZoneAnswer {
  return records === undefined && !exists ? { kind: 'no-such-name', soa } : { kind: 'found', records: records ?? [], soa };
}

/** What the fleet file names is in our domain, whether it says so or not. */
export function relativeName(name: string, domain: string): string {
  return labelIn(name, domain) ?? name;
}

function dataOf(entry: DnsRecord, zone: Zone): DnsRecordData {
  switch (entry.type) {
    case 'A':
      return { type: 'A', data: entry.address };
    case 'TXT':
      return { type: 'TXT', data: [...entry.text] };
    case 'CNAME':
      return { type: 'CNAME', data: targetName(entry.target, zone) };
    case 'SRV': {
      const { port, priority, weight } = entry;
      return { type: 'SRV', data: { target: targetName(entry.target, zone), port, priority, weight } };
    }
  }
}

/** A target may be anywhere: it is in our domain when it is there, or when it has no domain of its own. */
function targetName(target: string, zone: Zone): string {
  const full = `${target}.${zone.domain}`;
  const isOurs = !target.includes('.') || recordNames(zone).includes(target);
  return isOurs && labelIn(target, zone.domain) === undefined ? full : target;
}

function recordNames(zone: Zone): string[] {
  return zone.records.map((entry) => relativeName(entry.name, zone.domain));
}

/** The zone that a reverse name belongs to, cut between octets; it is inside of the subnet wherever that is possible. */
function reverseZones({ subnets }: Zone): string[] {
  return subnets.flatMap(({ network, prefix }) => {
    const octets = Math.min(3, Math.ceil(prefix / 8));
    const first = network.split('.').slice(0, octets).map(Number);
    const count = prefix >= octets * 8 ? 1 : 2 ** (octets * 8 - prefix);
    const last = first.at(-1) ?? 0;
    return Array.from({ length: count }, (_, index) => [...first.slice(0, -1), last + index].toReversed().join('.'));
  });
}

const reverseSuffix = '.in-addr.arpa';

function lookUpAddress(name: string, zone: Zone): ZoneAnswer | undefined {
  const labels = name.slice(0, -reverseSuffix.length);
  const apex = reverseZones(zone).find((candidate) => labels === candidate || labels.endsWith(`.${candidate}`));
  if (apex === undefined) {
    return undefined;
  }
  const soa = soaOf(`${apex}${reverseSuffix}`, zone);
  const octets = labels.split('.').toReversed();
  if (!octets.every((octet) => /^(0|[1-9]\d{0,2})$/.test(octet) && Number(octet) < 256) || octets.length > 4) {
    return { kind: 'no-such-name', soa };
  }
  if (octets.length < 4) {
    return { kind: 'found', records: labels === apex ? [soa, record(name, { type: 'NS', data: serverName(zone) })] : [], soa };
  }
  const address = parseIpv4(octets.join('.'));
  if (!zone.subnets.some((subnet) => contains(subnet, address))) {
    // The rest of an octet that we share with others.
    return undefined;
  }
  const host = address === zone.server.address ? zone.server.name : zone.nameAt(address);
  return host === undefined
    ? { kind: 'no-such-name', soa }
    : { kind: 'found', records: [record(name, { type: 'PTR', data: `${host}.${zone.domain}` })], soa };
}

/** Nobody copies the zone, so its serial number says nothing. */
function soaOf(name: string, zone: Zone): DnsAnswerRecord {
  const times = { serial: 1, refresh: 3600, retry: 600, expire: 86_400, minimum: ourTtl };
  return record(name, { type: 'SOA', data: { mname: serverName(zone), rname: `hostmaster.${zone.domain}`, ...times } });
}

function serverName({ server, domain }: Zone): string {
  return `${server.name}.${domain}`;
}

function record(name: string, data: DnsRecordData): DnsAnswerRecord {
  return { name, ttl: ourTtl, ...data };
}
