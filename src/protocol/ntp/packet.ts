/**
 * NTP, the part that a client and a server of it need (RFC 5905 section 7.3; SNTP: section 14).
 *
 *      0  leap:2 version:3 mode:3 | stratum | poll | precision      1 byte each
 *      4  root delay | root dispersion | reference id               4 bytes each
 *     16  reference, origin, receive, transmit timestamp            8 bytes each: seconds since 1900 and their fraction
 *     48  extensions and a signature, which nobody here asks for
 */
import { DecodeError } from '../../domain/errors.ts';

export const NtpMode = { Client: 3, Server: 4 } as const;
export const Leap = { None: 0, LastMinuteHas61: 1, LastMinuteHas59: 2, Unsynchronised: 3 } as const;
export type Leap = (typeof Leap)[keyof typeof Leap];

const packetBytes = 48;
/** From 1900 to 1970. */
const epochSeconds = 2_208_988_800;

export interface NtpRequest {
  readonly version: number;
  readonly mode: number;
  readonly poll: number;
  /** As it came: the client knows its question by it. */
  readonly transmit: Buffer;
}

export interface NtpReply {
  readonly version: number;
  readonly leap: Leap;
  readonly stratum: number;
  readonly poll: number;
  /** Of the clock, as a power of two of seconds. */
  readonly precision: number;
  readonly rootDelaySeconds: number;
  readonly rootDispersionSeconds: number;
  readonly referenceId: Buffer;
  readonly referenceMs: number;
  readonly origin: Buffer;
  readonly receiveMs: number;
  readonly transmitMs: number;
}

/** @throws DecodeError */
export function decodeNtpRequest(bytes: Buffer): NtpRequest {
  if (bytes.length < packetBytes) {
    throw new DecodeError('packet is cut off', bytes.length);
  }
  const first = bytes.readUInt8(0);
  return { version: (first >> 3) & 7, mode: first & 7, poll: bytes.readInt8(2), transmit: Buffer.from(bytes.subarray(40, packetBytes)) };
}

export function encodeNtpReply(reply: NtpReply): Buffer {
  const bytes = Buffer.alloc(packetBytes);
  bytes.writeUInt8((reply.leap << 6) | (reply.version << 3) | NtpMode.Server, 0);
  bytes.writeUInt8(reply.stratum, 1);
  bytes.writeInt8(reply.poll, 2);
  bytes.writeInt8(reply.precision, 3);
  bytes.writeUInt32BE(shortSeconds(reply.rootDelaySeconds), 4);
  bytes.writeUInt32BE(shortSeconds(reply.rootDispersionSeconds), 8);
  reply.referenceId.copy(bytes, 12, 0, 4);
  writeTimestamp(bytes, 16, reply.referenceMs);
  reply.origin.copy(bytes, 24, 0, 8);
  writeTimestamp(bytes, 32, reply.receiveMs);
  writeTimestamp(bytes, 40, reply.transmitMs);
  return bytes;
}

/** 16 bits of seconds, 16 of their fraction. */
function shortSeconds(seconds: number): number {
  return Math.min(0xffff_ffff, Math.round(seconds * 0x1_0000));
}

function writeTimestamp(bytes: Buffer, offset: number, unixMs: number): void {
  const seconds = Math.floor(unixMs / 1000) + epochSeconds;
  // In 2036 the seconds begin again at 0 (RFC 5905 section 6).
  bytes.writeUInt32BE(seconds % 0x1_0000_0000, offset);
  bytes.writeUInt32BE(Math.floor(((unixMs % 1000) / 1000) * 0x1_0000_0000), offset + 4);
}
