import { closeSync, readFileSync } from 'node:fs';
import { ipv4FromBytes } from '../domain/ipv4.ts';
import { openPacketDescriptor, receivePacket } from './libc.ts';
import type { UdpPeer } from './udp-endpoint.ts';

const pollMs = 5;
const maxPacketBytes = 65_536;
const protocolUdp = 17;

export interface UdpListenerOptions {
  readonly interfaceName: string;
  readonly port: number;
  readonly onMessage: (data: Buffer, peer: UdpPeer) => void;
}

/**
 * Hears UDP to a port on an interface that has no address yet, also when it is sent to an address that the interface
 * does not have. Node cannot watch such a descriptor, so it is asked every few milliseconds. The result stops it.
 */
export function listenWithoutAddress(options: UdpListenerOptions): () => void {
  const index = Number(readFileSync(`/sys/class/net/${options.interfaceName}/ifindex`, 'utf8'));
  const fd = openPacketDescriptor(index);
  const buffer = Buffer.alloc(maxPacketBytes);
  const timer = setInterval(() => {
    for (let packet = receivePacket(fd, buffer); packet; packet = receivePacket(fd, buffer)) {
      const datagram = readDatagram(packet);
      if (datagram?.port === options.port) {
        options.onMessage(datagram.data, datagram.peer);
      }
    }
  }, pollMs);
  return () => {
    clearInterval(timer);
    closeSync(fd);
  };
}

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
