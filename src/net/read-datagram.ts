/** The UDP datagram in a packet that a packet socket heard. */
import { ipv4FromBytes } from '../domain/ipv4.ts';
import type { UdpPeer } from './udp-endpoint.ts';

const protocolUdp = 17;

/** RFC 791 and RFC 768. Undefined for anything but a whole UDP datagram. */
export function readDatagram(packet: Buffer): { readonly port: number; readonly data: Buffer; readonly peer: UdpPeer } | undefined {
  const first = packet[0] ?? 0;
  const headerBytes = (first & 0xf) * 4;
  const isFragment = packet.length >= 20 && (packet.readUInt16BE(6) & 0x3fff) !== 0;
  if (first >> 4 !== 4 || packet[9] !== protocolUdp || isFragment || headerBytes < 20 || packet.length < headerBytes + 8) {
    return undefined;
  }
  const udp = packet.subarray(headerBytes);
  const length = udp.readUInt16BE(4);
  if (length < 8 || length > udp.length) {
    return undefined;
  }
  return {
    port: udp.readUInt16BE(2),
    data: udp.subarray(8, length),
    peer: { address: ipv4FromBytes(packet.subarray(12, 16)), port: udp.readUInt16BE(0) },
  };
}
