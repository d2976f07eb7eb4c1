/** Neighbor Discovery for IPv6 (RFC 4861), as far as we speak it. */
import { type Mac, macBytes } from '../../domain/mac.ts';

const headerBytes = 40;
const messageBytes = 16;
const icmpv6 = 58;
const routerAdvertisement = 134;
/** Section 6.1.2: a lower one could come from elsewhere, and is ignored. */
const hopLimit = 255;

/**
 * A Router Advertisement (section 4.2) that says: here is no router, no prefix and no DHCPv6. With its IPv6 header. It goes to
 * the link-local address of one station: what is sent to all, iPXE takes only from frames that were sent to all.
 */
export function noRouterAdvertisement(from: Mac, to: Mac): Buffer {
  const packet = Buffer.alloc(headerBytes + messageBytes);
  packet.writeUInt8(0x60, 0);
  packet.writeUInt16BE(messageBytes, 4);
  packet.writeUInt8(icmpv6, 6);
  packet.writeUInt8(hopLimit, 7);
  linkLocal(from).copy(packet, 8);
  linkLocal(to).copy(packet, 24);
  // What follows the checksum is 0: no flags, a lifetime of 0, nothing said of times.
  packet.writeUInt8(routerAdvertisement, headerBytes);
  packet.writeUInt16BE(checksum(packet), headerBytes + 2);
  return packet;
}

/** RFC 4291 appendix A: the interface identifier is made of the MAC. */
function linkLocal(mac: Mac): Buffer {
  const bytes = macBytes(mac);
  const address = Buffer.alloc(16);
  address.writeUInt16BE(0xfe80, 0);
  bytes.copy(address, 8, 0, 3);
  address.writeUInt16BE(0xfffe, 11);
  bytes.copy(address, 13, 3);
  address.writeUInt8(address.readUInt8(8) ^ 0x02, 8);
  return address;
}

/** RFC 4443 section 2.3: over both addresses, length and protocol of the pseudo-header, and the message. */
function checksum(packet: Buffer): number {
  let sum = messageBytes + icmpv6;
  for (let offset = 8; offset < packet.length; offset += 2) {
    sum += packet.readUInt16BE(offset);
  }
  while (sum > 0xffff) {
    sum = (sum & 0xffff) + (sum >>> 16);
  }
  return ~sum & 0xffff;
}
