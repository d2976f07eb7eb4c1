/**
 * DHCP as boot firmware builds and reads it. Written from the client's side and on its own: the simulator judges the
 * server, so it must not share the server's codec, or a mistake in it would cancel out.
 */
import { anyAddress, type Ipv4, ipv4Bytes, ipv4FromBytes } from '../domain/ipv4.ts';
import { type Mac, macBytes } from '../domain/mac.ts';

export const dhcpType = { discover: 1, offer: 2, request: 3, ack: 5, nak: 6 } as const;

const magic = 0x63825363;
const optionsAt = 240;
const maxOptionBytes = 255;

export interface Request {
  readonly mac: Mac;
  readonly xid: number;
  readonly ciaddr?: Ipv4;
  readonly broadcast?: boolean;
  /** Code and content, in the order in which this firmware writes them. */
  readonly options: readonly (readonly [code: number, data: Buffer | readonly number[] | string])[];
  /** Firmware that fills its packet up to a fixed size. */
  readonly minBytes?: number;
}

export function dhcpRequest(request: Request): Buffer {
  const packet = Buffer.alloc(optionsAt);
  packet.set([1, 1, 6, 0], 0);
  packet.writeUInt32BE(request.xid, 4);
  packet.writeUInt16BE(request.broadcast === true ? 0x8000 : 0, 10);
  ipv4Bytes(request.ciaddr ?? anyAddress).copy(packet, 12);
  macBytes(request.mac).copy(packet, 28);
  packet.writeUInt32BE(magic, 236);
  const options = request.options.map(([code, data]) => {
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : Buffer.from(data);
    return Buffer.concat([Buffer.from([code, Math.min(bytes.length, maxOptionBytes)]), bytes.subarray(0, maxOptionBytes)]);
  });
  const all = Buffer.concat([packet, ...options, Buffer.from([255])]);
  return all.length < (request.minBytes ?? 0) ? Buffer.concat([all, Buffer.alloc((request.minBytes ?? 0) - all.length)]) : all;
}

export interface Reply {
  readonly type: number;
  readonly yiaddr: Ipv4;
  readonly siaddr: Ipv4;
  readonly giaddr: Ipv4;
  readonly hops: number;
  readonly file: string;
  /** In the order in which they came: later ones win where two name a server. */
  readonly options: ReadonlyMap<number, Buffer>;
}

/** A server's message for this board, or undefined: firmware passes over whatever else it hears. */
export function readReply(packet: Buffer, mac: Mac, xid: number): Reply | undefined {
  const isMine =
    packet.length >= optionsAt + 4 &&
    packet[0] === 2 &&
    packet.readUInt32BE(4) === xid &&
    packet.subarray(28, 34).equals(macBytes(mac)) &&
    packet.readUInt32BE(236) === magic;
  if (!isMine) {
    return undefined;
  }
  const options = readOptions(packet);
  const type = options.get(53)?.[0];
  if (type === undefined) {
    return undefined;
  }
  return {
    type,
    yiaddr: ipv4FromBytes(packet.subarray(12 + 4, 20)),
    siaddr: ipv4FromBytes(packet.subarray(20, 24)),
    giaddr: ipv4FromBytes(packet.subarray(24, 28)),
    hops: packet[3] ?? 0,
    file: packet.toString('latin1', 108, 236).split('\0')[0] ?? '',
    options,
  };
}

function readOptions(packet: Buffer): Map<number, Buffer> {
  const options = new Map<number, Buffer>();
  for (let at = optionsAt; at + 1 < packet.length && packet[at] !== 255; ) {
    const code = packet[at] ?? 0;
    if (code === 0) {
      at += 1;
      continue;
    }
    const length = packet[at + 1] ?? 0;
    // The packet's memory is used again for the next one.
    const data = Buffer.from(packet.subarray(at + 2, at + 2 + length));
    const before = options.get(code);
    // RFC 3396: parts of a long option follow one another.
    options.set(code, before ? Buffer.concat([before, data]) : data);
    at += 2 + length;
  }
  return options;
}

export function optionAddress(reply: Reply, code: number): Ipv4 | undefined {
  const data = reply.options.get(code);
  return data && data.length >= 4 ? ipv4FromBytes(data.subarray(0, 4)) : undefined;
}

export function optionText(reply: Reply, code: number): string | undefined {
  return reply.options.get(code)?.toString('latin1');
}
