/** Ethernet II, ARP (RFC 826), IPv4 (RFC 791) and UDP (RFC 768) as far as a boot ROM knows them. */

export const etherType = { ipv4: 0x0800, arp: 0x0806 } as const;
export const ipProtocol = { tcp: 6, udp: 17 } as const;
export const broadcastMac = 0xffffffffffff;
export const headerBytes = { ethernet: 14, ip: 20, udp: 8 } as const;
/** Boot ROMs send TTL 128, IP id 0 and no UDP checksum (capture in boot-net.adoc). */
const ttl = 128;
const minFrameBytes = 60;

export interface IpHeader {
  readonly source: number;
  readonly destination: number;
  readonly protocol: number;
  /** Of what IP carries. */
  readonly length: number;
}

/** MACs are 48-bit numbers, addresses 32-bit ones: they are compared for every frame. */
export function writeIpFrame(frame: Buffer, sourceMac: number, destinationMac: number, ip: IpHeader): number {
  frame.writeUIntBE(destinationMac, 0, 6);
  frame.writeUIntBE(sourceMac, 6, 6);
  frame.writeUInt16BE(etherType.ipv4, 12);
  frame.writeUInt16BE(0x4500, 14);
  frame.writeUInt16BE(headerBytes.ip + ip.length, 16);
  frame.writeUInt32BE(0, 18);
  frame.writeUInt32BE((ttl * 256 + ip.protocol) * 65_536, 22);
  frame.writeUInt32BE(ip.source, 26);
  frame.writeUInt32BE(ip.destination, 30);
  frame.writeUInt16BE(checksum(frame, 14, 34, 0), 24);
  return headerBytes.ethernet + headerBytes.ip;
}

export interface UdpHeader {
  readonly sourceMac: number;
  readonly destinationMac: number;
  readonly source: number;
  readonly destination: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** The frame's length. */
export function writeUdpFrame(frame: Buffer, header: UdpHeader, data: Buffer): number {
  const { sourceMac, destinationMac, source, destination } = header;
  const length = headerBytes.udp + data.length;
  const at = writeIpFrame(frame, sourceMac, destinationMac, { source, destination, protocol: ipProtocol.udp, length });
  frame.writeUInt16BE(header.sourcePort, at);
  frame.writeUInt16BE(header.destinationPort, at + 2);
  frame.writeUInt16BE(length, at + 4);
  frame.writeUInt16BE(0, at + 6);
  data.copy(frame, at + 8);
  return padded(frame, at + length);
}

export interface Arp {
  readonly operation: 1 | 2;
  readonly senderMac: number;
  readonly sender: number;
  readonly targetMac: number;
  readonly target: number;
}

export function writeArpFrame(frame: Buffer, arp: Arp): number {
  frame.writeUIntBE(arp.operation === 1 ? broadcastMac : arp.targetMac, 0, 6);
  frame.writeUIntBE(arp.senderMac, 6, 6);
  frame.writeUInt16BE(etherType.arp, 12);
  frame.writeUIntBE(0x000108000604, 14, 6);
  frame.writeUInt16BE(arp.operation, 20);
  frame.writeUIntBE(arp.senderMac, 22, 6);
  frame.writeUInt32BE(arp.sender, 28);
  frame.writeUIntBE(arp.operation === 1 ? 0 : arp.targetMac, 32, 6);
  frame.writeUInt32BE(arp.target, 38);
  return padded(frame, 42);
}

/** Undefined for anything but ARP between IPv4 addresses over Ethernet. */
export function readArp(frame: Buffer): Arp | undefined {
  if (frame.length < 42 || frame.readUIntBE(14, 6) !== 0x000108000604) {
    return undefined;
  }
  const operation = frame.readUInt16BE(20);
  if (operation !== 1 && operation !== 2) {
    return undefined;
  }
  return {
    operation,
    senderMac: frame.readUIntBE(22, 6),
    sender: frame.readUInt32BE(28),
    targetMac: frame.readUIntBE(32, 6),
    target: frame.readUInt32BE(38),
  };
}

/** Where TCP or UDP begins and ends in a frame; undefined for broken headers and fragments, which no boot ROM puts together. */
export function readIp(frame: Buffer): { readonly at: number; readonly end: number; readonly protocol: number } | undefined {
  if (frame.length < 34 || (frame[14] ?? 0) >> 4 !== 4) {
    return undefined;
  }
  const at = 14 + ((frame[14] ?? 0) & 0xf) * 4;
  const end = 14 + frame.readUInt16BE(16);
  const isFragment = (frame.readUInt16BE(20) & 0x3fff) !== 0;
  if (isFragment || at < 34 || end > frame.length || end < at + 8) {
    return undefined;
  }
  return { at, end, protocol: frame[23] ?? 0 };
}

/** RFC 1071, over bytes `from` to `to`. */
export function checksum(bytes: Buffer, from: number, to: number, start: number): number {
  let sum = start;
  for (let at = from; at + 1 < to; at += 2) {
    sum += bytes.readUInt16BE(at);
  }
  if ((to - from) % 2 === 1) {
    sum += (bytes[to - 1] ?? 0) << 8;
  }
  while (sum > 0xffff) {
    sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  }
  return ~sum & 0xffff;
}

function padded(frame: Buffer, length: number): number {
  if (length < minFrameBytes) {
    frame.fill(0, length, minFrameBytes);
    return minFrameBytes;
  }
  return length;
}
