/**
 * DHCP messages (RFC 2131 section 2, options RFC 2132).
 *
 *    0  op 1 | htype 1 | hlen 1 | hops 1
 *    4  xid 4
 *    8  secs 2 | flags 2 (0x8000 = broadcast)
 *   12  ciaddr 4, yiaddr 4, siaddr 4, giaddr 4
 *   28  chaddr 16
 *   44  sname 64
 *  108  file 128
 *  236  magic cookie 63 82 53 63
 *  240  options: code, length, data ... 255, then padding
 */
import { DecodeError } from '../../domain/errors.ts';
import { type Ipv4, ipv4Bytes, ipv4FromBytes } from '../../domain/ipv4.ts';
import { type Mac, macFromBytes } from '../../domain/mac.ts';
import { Reader } from '../bytes/reader.ts';
import { OptionCode } from './option-code.ts';

const magicCookie = 0x63825363;
const broadcastFlag = 0x8000;
/** BOOTP clients (RFC 1542 section 2.1) and some boot ROMs drop shorter messages. */
const minMessageBytes = 300;

export const Op = { BootRequest: 1, BootReply: 2 } as const;

export const MessageType = {
  Discover: 1,
  Offer: 2,
  Request: 3,
  Decline: 4,
  Ack: 5,
  Nak: 6,
  Release: 7,
  Inform: 8,
} as const;

export interface DhcpOption {
  readonly code: number;
  readonly data: Buffer;
}

export interface DhcpMessage {
  readonly op: number;
  readonly htype: number;
  readonly hlen: number;
  readonly hops: number;
  readonly xid: number;
  readonly secs: number;
  readonly flags: number;
  readonly ciaddr: Ipv4;
  readonly yiaddr: Ipv4;
  readonly siaddr: Ipv4;
  readonly giaddr: Ipv4;
  /** 16 bytes. */
  readonly chaddr: Buffer;
  /** 64 bytes. */
  readonly sname: Buffer;
  /** 128 bytes. */
  readonly file: Buffer;
  /** As they came, in order, pads (code 0) included, end (255) not. */
  readonly options: readonly DhcpOption[];
  /** What follows the end option. */
  readonly padding: Buffer;
}

/** @throws DecodeError */
export function decodeDhcp(bytes: Buffer): DhcpMessage {
  const reader = new Reader(bytes);
  const head = {
    op: reader.u8('op'),
    htype: reader.u8('htype'),
    hlen: reader.u8('hlen'),
    hops: reader.u8('hops'),
    xid: reader.u32('xid'),
    secs: reader.u16('secs'),
    flags: reader.u16('flags'),
    ciaddr: ipv4FromBytes(reader.take(4, 'ciaddr')),
    yiaddr: ipv4FromBytes(reader.take(4, 'yiaddr')),
    siaddr: ipv4FromBytes(reader.take(4, 'siaddr')),
    giaddr: ipv4FromBytes(reader.take(4, 'giaddr')),
    chaddr: reader.take(16, 'chaddr'),
    sname: reader.take(64, 'sname'),
    file: reader.take(128, 'file'),
  };
  if (head.hlen > 16) {
    throw new DecodeError(`hlen ${head.hlen} is more than chaddr holds`, 2);
  }
  if (reader.u32('magic cookie') !== magicCookie) {
    throw new DecodeError('magic cookie is not 63825363', 236);
  }
  const options: DhcpOption[] = [];
  for (;;) {
    const code = reader.u8('option code');
    if (code === OptionCode.End) {
      break;
    }
    const length = code === OptionCode.Pad ? 0 : reader.u8(`length of option ${code}`);
    options.push({ code, data: reader.take(length, `option ${code}`) });
  }
  return { ...head, options, padding: reader.rest() };
}

/** The inverse of decodeDhcp. @throws RangeError when a field is longer than its place on the wire */
export function encodeDhcp(message: DhcpMessage): Buffer {
  const head = Buffer.alloc(28);
  head.writeUInt8(message.op, 0);
  head.writeUInt8(message.htype, 1);
  head.writeUInt8(message.hlen, 2);
  head.writeUInt8(message.hops, 3);
  head.writeUInt32BE(message.xid, 4);
  head.writeUInt16BE(message.secs, 8);
  head.writeUInt16BE(message.flags, 10);
  ipv4Bytes(message.ciaddr).copy(head, 12);
  ipv4Bytes(message.yiaddr).copy(head, 16);
  ipv4Bytes(message.siaddr).copy(head, 20);
  ipv4Bytes(message.giaddr).copy(head, 24);
  const cookie = Buffer.alloc(4);
  cookie.writeUInt32BE(magicCookie);
  return Buffer.concat([
    head,
    fixedField(message.chaddr, 16, 'chaddr'),
    fixedField(message.sname, 64, 'sname'),
    fixedField(message.file, 128, 'file'),
    cookie,
    ...message.options.map(encodeOption),
    Buffer.from([OptionCode.End]),
    message.padding,
  ]);
}

function fixedField(bytes: Buffer, length: number, name: string): Buffer {
  if (bytes.length > length) {
    throw new RangeError(`${name} has ${bytes.length} bytes, ${length} fit`);
  }
  const field = Buffer.alloc(length);
  bytes.copy(field);
  return field;
}

function encodeOption(option: DhcpOption): Buffer {
  if (option.code === OptionCode.Pad) {
    return Buffer.from([OptionCode.Pad]);
  }
  if (option.data.length > 255) {
    throw new RangeError(`option ${option.code} has ${option.data.length} bytes, 255 fit`);
  }
  return Buffer.concat([Buffer.from([option.code, option.data.length]), option.data]);
}

/** The first option with this code, or undefined when the message has none. */
export function optionOf(message: DhcpMessage, code: number): Buffer | undefined {
  return message.options.find((option) => option.code === code)?.data;
}

/** Option 53; undefined for plain BOOTP and for a malformed value. */
export function messageTypeOf(message: DhcpMessage): number | undefined {
  const data = optionOf(message, OptionCode.MessageType);
  return data?.length === 1 ? data[0] : undefined;
}

/** An option that holds one IPv4 address; undefined when absent or not 4 bytes long. */
export function addressOption(message: DhcpMessage, code: number): Ipv4 | undefined {
  const data = optionOf(message, code);
  return data?.length === 4 ? ipv4FromBytes(data) : undefined;
}

/** The client's Ethernet address; undefined for other hardware. */
export function clientMac(message: DhcpMessage): Mac | undefined {
  return message.htype === 1 && message.hlen === 6 ? macFromBytes(message.chaddr) : undefined;
}

/** Zeros after the end option that bring a reply to the 300 bytes that BOOTP clients expect. */
export function paddingFor(options: readonly DhcpOption[]): Buffer {
  const used = 240 + options.reduce((sum, option) => sum + 2 + option.data.length, 0) + 1;
  return Buffer.alloc(Math.max(0, minMessageBytes - used));
}

export function withBroadcast(flags: number): number {
  return flags | broadcastFlag;
}
