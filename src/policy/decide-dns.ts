/** What to answer to a question, or whom to ask. Never anything for who is not in a subnet that we serve. */
import { contains, type Ipv4, type Subnet } from '../domain/ipv4.ts';
import type { DnsAnswerRecord, DnsReply } from '../protocol/dns/answer.ts';
import { type DnsQuery, RecordClass, RecordType, ResponseCode } from '../protocol/dns/query.ts';
import { lookUp, type Zone } from './dns-zone.ts';

export interface DnsFacts {
  readonly client: Ipv4;
  /** Whose clients we serve. */
  readonly served: readonly Subnet[];
  readonly zone: Zone;
}

export type DnsDecision =
  | { readonly kind: 'reply'; readonly reply: DnsReply }
  /** The name server of somebody else is asked, and its reply passed on. */
  | { readonly kind: 'forward' }
  /** A name of ours leads to a name elsewhere, of which the client wants the address as well. */
  | { readonly kind: 'follow'; readonly target: string; readonly reply: DnsReply }
  | { readonly kind: 'silence'; readonly reason: 'not-served' };

const opcodeQuery = 0;
/** A chain of aliases that is longer leads in a circle. */
const maxAliases = 8;

export function decideDns(query: DnsQuery, { client, served, zone }: DnsFacts): DnsDecision {
  const { question, edns } = query;
  if (!served.some((subnet) => contains(subnet, client))) {
    return { kind: 'silence', reason: 'not-served' };
  }
  if (query.opcode !== opcodeQuery) {
    return plain(ResponseCode.NotImp);
  }
  if (edns !== undefined && edns.version !== 0) {
    return plain(ResponseCode.BadVers);
  }
  const isTransfer = question.type === RecordType.AXFR || question.type === RecordType.IXFR;
  if (question.class !== RecordClass.IN || isTransfer || question.type === RecordType.OPT) {
    return plain(ResponseCode.Refused);
  }
  const { name } = question;
  const found = name === undefined ? undefined : lookUp(name, zone);
  if (name !== undefined && found !== undefined) {
    return fromZone(name, query, zone);
  }
  if (name !== undefined && name !== '' && !name.includes('.') && isAddress(question.type)) {
    // The root's servers would be asked for the name of a machine of this house.
    return plain(ResponseCode.NXDomain);
  }
  return query.wantsRecursion ? { kind: 'forward' } : plain(ResponseCode.Refused);
}

/** RFC 2308 section 3: with what is not there goes the SOA record, which says for how long. */
function fromZone(asked: string, { question }: DnsQuery, zone: Zone): DnsDecision {
  const answers: DnsAnswerRecord[] = [];
  let name = asked;
  for (let hop = 0; hop < maxAliases; hop += 1) {
    const found = lookUp(name, zone);
    if (found === undefined) {
      return { kind: 'follow', target: name, reply: reply(ResponseCode.NoError, answers) };
    }
    const records = found.kind === 'found' ? found.records : [];
    const alias = records.find((record) => record.type === 'CNAME');
    if (alias?.type !== 'CNAME' || question.type === RecordType.CNAME || question.type === RecordType.ANY) {
      answers.push(...records.filter((record) => isAsked(record, question.type)));
      // RFC 6604 section 3: behind an alias the code is that of the last name.
      const code = found.kind === 'found' ? ResponseCode.NoError : ResponseCode.NXDomain;
      const isThere = answers.some((record) => isAsked(record, question.type));
      return { kind: 'reply', reply: { ...reply(code, answers), authorities: isThere ? [] : [found.soa] } };
    }
    answers.push(alias);
    name = alias.data.toLowerCase();
  }
  return plain(ResponseCode.ServFail);
}

function isAsked(record: DnsAnswerRecord, type: number): boolean {
  return type === RecordType.ANY || RecordType[record.type] === type;
}

function isAddress(type: number): boolean {
  return type === RecordType.A || type === RecordType.AAAA;
}

function plain(code: ResponseCode): DnsDecision {
  return { kind: 'reply', reply: { code, isAuthoritative: false, answers: [], authorities: [] } };
}

function reply(code: ResponseCode, answers: readonly DnsAnswerRecord[]): DnsReply {
  return { code, isAuthoritative: true, answers, authorities: [] };
}
