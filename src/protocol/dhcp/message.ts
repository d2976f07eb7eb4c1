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
import { type Ipv4, ipv4FromBytes, ipv4FromNumber, ipv4ToNumber } from '../../domain/ipv4.ts';
import { type Mac, macFromBytes } from '../../domain/mac.ts';
import { Reader } from '../bytes/reader.ts';
import { OptionCode } from './option-code.ts';

const magicCookie = 0x63825363;
const broadcastFlag = 0x8000;
/** BOOTP clients (RFC 1542 section 2.1) and some boot ROMs drop shorter messages. */
const minMessageBytes = 300;
const maxOptionBytes = 255;
const zeros = Buffer.alloc(minMessageBytes);

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
    ciaddr: ipv4FromNumber(reader.u32('ciaddr')),
    yiaddr: ipv4FromNumber(reader.u32('yiaddr')),
    siaddr: ipv4FromNumber(reader.u32('siaddr')),
    giaddr: ipv4FromNumber(reader.u32('giaddr')),
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
  const options = readOptions(reader);
  return { ...head, options, padding: reader.rest() };
}

/** Up to the end option, which must be there. */
function readOptions(reader: Reader): DhcpOption[] {
  const options: DhcpOption[] = [];
  for (;;) {
    const code = reader.u8('option code');
    if (code === OptionCode.End) {
      return options;
    }
    const length = code === OptionCode.Pad ? 0 : reader.u8('length of an option');
    options.push({ code, data: reader.take(length, 'an option') });
  }
}

/**
 * The inverse of decodeDhcp. Data of more than 255 bytes is split over several options with the same code (RFC 3396
 * section 7). @throws RangeError when a fixed field is longer than its place on the wire
 */
export function encodeDhcp(message: DhcpMessage): Buffer {
  const options = 241 + optionBytes(message.options);
  const bytes = Buffer.allocUnsafe(options + message.padding.length);
  // All else is written below.
  bytes.fill(0, 28, 236);
  bytes[0] = message.op;
  bytes[1] = message.htype;
  bytes[2] = message.hlen;
  bytes[3] = message.hops;
  bytes.writeUInt32BE(message.xid, 4);
  bytes.writeUInt16BE(message.secs, 8);
  bytes.writeUInt16BE(message.flags, 10);
  bytes.writeUInt32BE(ipv4ToNumber(message.ciaddr), 12);
  bytes.writeUInt32BE(ipv4ToNumber(message.yiaddr), 16);
  bytes.writeUInt32BE(ipv4ToNumber(message.siaddr), 20);
  bytes.writeUInt32BE(ipv4ToNumber(message.giaddr), 24);
  putField(bytes, 28, message.chaddr, 16, 'chaddr');
  putField(bytes, 44, message.sname, 64, 'sname');
  putField(bytes, 108, message.file, 128, 'file');
  bytes.writeUInt32BE(magicCookie, 236);
  bytes[putOptions(bytes, 240, message.options)] = OptionCode.End;
  message.padding.copy(bytes, options);
  return bytes;
}

function putField(bytes: Buffer, at: number, field: Buffer, length: number, name: string): void {
  if (field.length > length) {
    throw new RangeError(`${name} has ${field.length} bytes, ${length} fit`);
  }
  field.copy(bytes, at);
}

/** Returns where the next one goes. */
export function putOptions(bytes: Buffer, start: number, options: readonly DhcpOption[]): number {
  let at = start;
  for (const { code, data } of options) {
    if (code === OptionCode.Pad) {
      bytes[at] = OptionCode.Pad;
      at += 1;
      continue;
    }
    for (let from = 0; from === 0 || from < data.length; from += maxOptionBytes) {
      const part = Math.min(maxOptionBytes, data.length - from);
      bytes[at] = code;
      bytes[at + 1] = part;
      data.copy(bytes, at + 2, from, from + part);
      at += 2 + part;
    }
  }
  return at;
}

/** What they take on the wire. */
export function optionBytes(options: readonly DhcpOption[]): number {
  let sum = 0;
  for (const { code, data } of options) {
    sum += code === OptionCode.Pad ? 1 : data.length + 2 * Math.max(1, Math.ceil(data.length / maxOptionBytes));
  }
  return sum;
}

/**
 * The value of an option, or undefined when the message has none. An option that comes more than once is one value in
 * several parts (RFC 3396 section 5); the parts may continue in the fields `file` and `sname`, in this order, when
 * option 52 says that these hold options.
 */
export function optionOf(message: DhcpMessage, code: number): Buffer | undefined {
  let found: Buffer | undefined;
  let overload = 0;
  for (const option of message.options) {
    if (option.code === code) {
      found = found === undefined ? option.data : Buffer.concat([found, option.data]);
    } else if (option.code === OptionCode.OptionOverload) {
      overload = option.data[0] ?? 0;
    }
  }
  if (overload === 0) {
    return found;
  }
  const more = overloadedOptions(message, overload).filter((option) => option.code === code);
  return more.length === 0 ? found : Buffer.concat([...(found ? [found] : []), ...more.map((option) => option.data)]);
}

/** RFC 2132 section 9.3: 1 the field file, 2 sname, 3 both. What cannot be read there is no option. */
function overloadedOptions(message: DhcpMessage, overload: number): DhcpOption[] {
  const areas = [...((overload & 1) === 0 ? [] : [message.file]), ...((overload & 2) === 0 ? [] : [message.sname])];
  return areas.flatMap((area) => {
    try {
      return readOptions(new Reader(area));
    } catch (error) {
      if (error instanceof DecodeError) {
        return [];
      }
      throw error;
    }
  });
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
  const used = 240 + optionBytes(options) + 1;
  return zeros.subarray(0, Math.max(0, minMessageBytes - used));
}

export function withBroadcast(flags: number): number {
  return flags | broadcastFlag;
}
