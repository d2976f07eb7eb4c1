/**
 * What a DNS client asks (RFC 1035 section 4.1, EDNS: RFC 6891).
 *
 *      0  id | flags | QDCOUNT ANCOUNT NSCOUNT ARCOUNT     2 bytes each
 *     12  question: name, type, class
 *         additional records, of which OPT is one
 *
 * dns-packet reads the message. The question is kept as the bytes that came: it goes upstream and back to the client as they are,
 * for a label may hold any byte, and some clients tell by the case of its letters whether an answer is to their question.
 */
import { type Answer, decode } from 'dns-packet';
import { DecodeError, messageOf } from '../../domain/errors.ts';
import { skipName, textOfName } from './name.ts';

export const headerBytes = 12;
/** Without EDNS (RFC 1035 section 4.2.1). */
export const plainBytes = 512;

export const flag = { response: 0x8000, authoritative: 0x0400, truncated: 0x0200, recurse: 0x0100, recursive: 0x0080, checkingOff: 0x0010 };

/** A few of the numbers of the registry of DNS parameters. */
export const RecordType = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;
export const RecordClass = { IN: 1 } as const;
export const ResponseCode = { NoError: 0, ServFail: 2, NXDomain: 3, NotImp: 4, Refused: 5, BadVers: 16 } as const;
export type ResponseCode = (typeof ResponseCode)[keyof typeof ResponseCode];

export interface DnsQuestion {
  /** In lower case, without the final dot. Undefined: it has labels that are no text, so it is none of the names that we have. */
  readonly name: string | undefined;
  readonly type: number;
  readonly class: number;
  readonly bytes: Buffer;
}

export interface DnsQuery {
  readonly id: number;
  readonly opcode: number;
  readonly wantsRecursion: boolean;
  readonly checkingOff: boolean;
  readonly question: DnsQuestion;
  readonly edns?: { readonly version: number; readonly payloadBytes: number; readonly wantsSignatures: boolean };
}

/** @throws DecodeError */
export function decodeDnsQuery(bytes: Buffer): DnsQuery {
  if (bytes.length < headerBytes) {
    throw new DecodeError('header is cut off', bytes.length);
  }
  const flags = bytes.readUInt16BE(2);
  if ((flags & flag.response) !== 0) {
    throw new DecodeError('is a response', 2);
  }
  // Counted before anything is read: a client asks one question and adds its EDNS and perhaps a signature.
  if (bytes.readUInt16BE(4) !== 1 || bytes.readUInt32BE(6) !== 0 || bytes.readUInt16BE(10) > 2) {
    throw new DecodeError('not one question', 4);
  }
  const question = decodeQuestion(bytes);
  const edns = ednsOf(bytes);
  return {
    id: bytes.readUInt16BE(0),
    opcode: (flags >> 11) & 15,
    wantsRecursion: (flags & flag.recurse) !== 0,
    checkingOff: (flags & flag.checkingOff) !== 0,
    question,
    ...(edns ? { edns } : {}),
  };
}

function decodeQuestion(bytes: Buffer): DnsQuestion {
  const { end, isCompressed } = skipName(bytes, headerBytes);
  if (isCompressed) {
    // Nothing is before it that it could point to.
    throw new DecodeError('the question points elsewhere', headerBytes);
  }
  if (bytes.length < end + 4) {
    throw new DecodeError('question is cut off', bytes.length);
  }
  return {
    name: textOfName(bytes.subarray(headerBytes, end))?.toLowerCase(),
    type: bytes.readUInt16BE(end),
    class: bytes.readUInt16BE(end + 2),
    bytes: Buffer.from(bytes.subarray(headerBytes, end + 4)),
  };
}

function ednsOf(bytes: Buffer): DnsQuery['edns'] {
  const additionals = additionalsOf(bytes);
  for (const record of additionals) {
    if (record.type === 'OPT') {
      const { udpPayloadSize, ednsVersion, flag_do: wantsSignatures } = record;
      return { version: ednsVersion, payloadBytes: Math.max(udpPayloadSize, plainBytes), wantsSignatures };
    }
  }
  return undefined;
}

function additionalsOf(bytes: Buffer): Answer[] {
  try {
    return decode(bytes).additionals ?? [];
  } catch (error) {
    // An Error of its own, or a RangeError of Buffer.
    throw new DecodeError(`dns-packet: ${messageOf(error)}`, 0);
  }
}
