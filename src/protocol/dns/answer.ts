/** Replies of our own, with the question as it came. dns-packet writes the records. */
import { type Answer, decode, encode } from 'dns-packet';
import { DecodeError, messageOf } from '../../domain/errors.ts';
import type { Ipv4 } from '../../domain/ipv4.ts';
import { type DnsQuery, flag, headerBytes, plainBytes, type ResponseCode } from './query.ts';

/** Names without the final dot. */
export type DnsRecordData =
  | { readonly type: 'A'; readonly data: Ipv4 }
  | { readonly type: 'NS' | 'CNAME' | 'PTR'; readonly data: string }
  | { readonly type: 'TXT'; readonly data: string[] }
  | {
      readonly type: 'SRV';
      readonly data: { readonly target: string; readonly port: number; readonly priority: number; readonly weight: number };
    }
  | {
      readonly type: 'SOA';
      readonly data: {
        readonly mname: string;
        readonly rname: string;
        readonly serial: number;
        readonly refresh: number;
        readonly retry: number;
        readonly expire: number;
        readonly minimum: number;
      };
    };
export type DnsAnswerRecord = { readonly name: string; readonly ttl: number } & DnsRecordData;

export interface DnsReply {
  readonly code: ResponseCode;
  /** From what we know ourselves. */
  readonly isAuthoritative: boolean;
  readonly answers: readonly DnsAnswerRecord[];
  readonly authorities: readonly DnsAnswerRecord[];
}

/** What we take, and say that we take, in one datagram: never a fragment on any Ethernet. */
export const ourPayloadBytes = 1232;

/** @param maxBytes what the way back carries: a reply that is longer has its records left out and says so */
export function encodeDnsReply(query: DnsQuery, reply: DnsReply, maxBytes: number): Buffer {
  const whole = encodeRecords(query, reply, reply.answers, reply.authorities);
  if (whole.length <= maxBytes) {
    return whole;
  }
  const short = encodeRecords(query, reply, [], []);
  short.writeUInt16BE(short.readUInt16BE(2) | flag.truncated, 2);
  return short;
}

/** What a datagram back to this client may have. */
export function datagramBytes({ edns }: DnsQuery): number {
  return Math.min(edns?.payloadBytes ?? plainBytes, ourPayloadBytes);
}

function encodeRecords(
  query: DnsQuery,
  { code, isAuthoritative }: DnsReply,
  answers: readonly DnsAnswerRecord[],
  authorities: readonly DnsAnswerRecord[],
): Buffer {
  const records = encode({
    type: 'response',
    id: query.id,
    questions: [],
    answers: answers as Answer[],
    authorities: authorities as Answer[],
    additionals: query.edns ? [optRecord(code)] : [],
  });
  // dns-packet writes every name in full, so that nothing points at an offset that moves.
  const bytes = Buffer.concat([records.subarray(0, headerBytes), query.question.bytes, records.subarray(headerBytes)]);
  const flags =
    flag.response |
    (query.opcode << 11) |
    (isAuthoritative ? flag.authoritative : 0) |
    (query.wantsRecursion ? flag.recurse : 0) |
    flag.recursive |
    (query.checkingOff ? flag.checkingOff : 0) |
    (code & 15);
  bytes.writeUInt16BE(flags, 2);
  bytes.writeUInt16BE(1, 4);
  return bytes;
}

function optRecord(code: number): Answer {
  const opt = {
    type: 'OPT',
    name: '.',
    udpPayloadSize: ourPayloadBytes,
    extendedRcode: code >> 4,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
  };
  return { ...opt, type: 'OPT', options: [] };
}

/** The records that answer, of a message that came from upstream; only those that lead to an address. @throws DecodeError */
export function readAnswers(
  bytes: Buffer,
): { readonly name: string; readonly ttl: number; readonly type: string; readonly data: string }[] {
  try {
    const { answers = [] } = decode(bytes);
    return answers.flatMap((record) =>
      record.type === 'A' || record.type === 'AAAA' || record.type === 'CNAME'
        ? [{ name: record.name, ttl: record.ttl ?? 0, type: record.type, data: record.data }]
        : [],
    );
  } catch (error) {
    throw new DecodeError(`dns-packet: ${messageOf(error)}`, 0);
  }
}
