/**
 * Questions to other name servers and what they reply. A reply is passed on as the bytes that it is, so that record types
 * which nobody here knows arrive as they were sent; only its id, its flags, its EDNS record and its times are ours.
 */
import { DecodeError } from '../../domain/errors.ts';
import { ourPayloadBytes } from './answer.ts';
import { skipName } from './name.ts';
import { type DnsQuery, flag, headerBytes, RecordType } from './query.ts';

/** One that can be asked for several clients: what makes the reply another one is in it. */
export interface UpstreamQuestion {
  readonly question: Buffer;
  readonly wantsSignatures: boolean;
  readonly checkingOff: boolean;
}

export interface UpstreamReply {
  readonly id: number;
  readonly question: Buffer;
  readonly isTruncated: boolean;
  /** With the upper bits from EDNS. */
  readonly code: number;
  /** The shortest of all that it says; undefined when it says nothing that may be kept. */
  readonly ttl?: number;
  /** Without its EDNS record, which is between us and that server alone. */
  readonly bytes: Buffer;
  readonly ttlOffsets: readonly number[];
}

const optBytes = 11;
const dnssecOk = 0x8000;

export function encodeUpstreamQuery(id: number, { question, wantsSignatures, checkingOff }: UpstreamQuestion): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(flag.recurse | (checkingOff ? flag.checkingOff : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(1, 10);
  return Buffer.concat([header, question, optRecord(wantsSignatures)]);
}

function optRecord(wantsSignatures: boolean): Buffer {
  const opt = Buffer.alloc(optBytes);
  opt.writeUInt16BE(RecordType.OPT, 1);
  opt.writeUInt16BE(ourPayloadBytes, 3);
  opt.writeUInt16BE(wantsSignatures ? dnssecOk : 0, 7);
  return opt;
}

/** @throws DecodeError */
export function decodeUpstreamReply(bytes: Buffer): UpstreamReply {
  if (bytes.length < headerBytes) {
    throw new DecodeError('header is cut off', bytes.length);
  }
  const flags = bytes.readUInt16BE(2);
  if ((flags & flag.response) === 0 || bytes.readUInt16BE(4) !== 1) {
    throw new DecodeError('is no reply to one question', 2);
  }
  const questionEnd = skipName(bytes, headerBytes).end + 4;
  const counts = [6, 8, 10].map((at) => bytes.readUInt16BE(at));
  const isTruncated = (flags & flag.truncated) !== 0;
  const records = readRecords(bytes, questionEnd, counts);
  const kept = Buffer.from(bytes.subarray(0, records.end));
  kept.writeUInt16BE(records.additionals, 10);
  return {
    id: bytes.readUInt16BE(0),
    question: Buffer.from(bytes.subarray(headerBytes, questionEnd)),
    isTruncated,
    code: (flags & 15) | (records.extendedCode << 4),
    ...(records.ttl === undefined ? {} : { ttl: records.ttl }),
    bytes: kept,
    ttlOffsets: records.ttlOffsets,
  };
}

interface Records {
  /** Of what is kept. */
  end: number;
  additionals: number;
  extendedCode: number;
  ttl: number | undefined;
  readonly ttlOffsets: number[];
}

/** Type, class, time to live and length of a record, behind its name: 2, 2, 4 and 2 bytes. */
const fixedBytes = 10;

function readRecords(bytes: Buffer, start: number, counts: readonly number[]): Records {
  const read: Records = { end: start, additionals: 0, extendedCode: 0, ttl: undefined, ttlOffsets: [] };
  const [answers = 0, authorities = 0, additionals = 0] = counts;
  let at = start;
  let isCut = false;
  for (let index = 0; index < answers + authorities + additionals; index += 1) {
    const { end } = skipName(bytes, at);
    const next = end + fixedBytes <= bytes.length ? end + fixedBytes + bytes.readUInt16BE(end + 8) : bytes.length + 1;
    if (next > bytes.length) {
      throw new DecodeError('record is cut off', at);
    }
    const type = bytes.readUInt16BE(end);
    if (type === RecordType.OPT) {
      read.extendedCode = bytes.readUInt8(end + 4);
      // Usually the last one; what is behind it would have to move, and is a help that nobody needs.
      isCut = true;
    } else if (!isCut) {
      note(read, { bytes, end, next, type, isNegative: answers === 0 });
      read.additionals += index >= answers + authorities ? 1 : 0;
    }
    at = next;
  }
  return read;
}

interface Place {
  readonly bytes: Buffer;
  readonly end: number;
  readonly next: number;
  readonly type: number;
  readonly isNegative: boolean;
}

function note(read: Records, { bytes, end, next, type, isNegative }: Place): void {
  const said = bytes.readUInt32BE(end + 4);
  // RFC 2181 section 8: with the highest bit set it is none at all.
  const ttl = said > 0x7fff_ffff ? 0 : said;
  // RFC 2308 section 5: how long "no" holds is the last field of the SOA record, or the time of that record.
  const holds = type === RecordType.SOA && isNegative && next - end >= fixedBytes + 4 ? Math.min(ttl, bytes.readUInt32BE(next - 4)) : ttl;
  read.ttl = Math.min(read.ttl ?? holds, holds);
  read.ttlOffsets.push(end + 4);
  read.end = next;
}

/** For one client: its id and its own spelling of the question, and times that have passed since. */
export function relayReply(query: DnsQuery, reply: UpstreamReply, ageSeconds: number, maxBytes: number): Buffer {
  const opt = query.edns ? optRecord(query.edns.wantsSignatures) : Buffer.alloc(0);
  const isTooLong = reply.bytes.length + opt.length > maxBytes;
  const records = isTooLong ? reply.bytes.subarray(0, headerBytes + reply.question.length) : reply.bytes;
  const bytes = Buffer.concat([records, opt]);
  bytes.writeUInt16BE(query.id, 0);
  query.question.bytes.copy(bytes, headerBytes);
  const flags =
    flag.response |
    (query.wantsRecursion ? flag.recurse : 0) |
    flag.recursive |
    (query.checkingOff ? flag.checkingOff : 0) |
    (isTooLong || reply.isTruncated ? flag.truncated : 0) |
    (reply.code & 15);
  bytes.writeUInt16BE(flags, 2);
  if (isTooLong) {
    bytes.fill(0, 6, headerBytes);
  } else {
    for (const at of reply.ttlOffsets) {
      bytes.writeUInt32BE(Math.max(0, bytes.readUInt32BE(at) - ageSeconds), at);
    }
  }
  bytes.writeUInt16BE((isTooLong ? 0 : bytes.readUInt16BE(10)) + (query.edns ? 1 : 0), 10);
  return bytes;
}
