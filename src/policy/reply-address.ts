/** Where a reply goes (RFC 2131 section 4.1). */
import { anyAddress, type Ipv4, limitedBroadcast } from '../domain/ipv4.ts';
import { type DhcpMessage, MessageType, messageTypeOf } from '../protocol/dhcp/message.ts';

export interface Destination {
  readonly address: Ipv4;
  readonly port: 67 | 68;
}

/**
 * A client without an address asks for a unicast to yiaddr by leaving the broadcast flag clear. It cannot answer ARP
 * yet, and writing neighbour entries for it takes a raw socket; every client accepts the broadcast, so it gets that.
 */
export function replyAddress(request: DhcpMessage, reply: DhcpMessage): Destination {
  if (request.giaddr !== anyAddress) {
    return { address: request.giaddr, port: 67 };
  }
  if (messageTypeOf(reply) !== MessageType.Nak && request.ciaddr !== anyAddress) {
    return { address: request.ciaddr, port: 68 };
  }
  return { address: limitedBroadcast, port: 68 };
}
