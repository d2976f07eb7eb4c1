/** Where a reply goes (RFC 2131 section 4.1). */
import { anyAddress, type Ipv4, limitedBroadcast } from '../domain/ipv4.ts';
import { type DhcpMessage, MessageType, messageTypeOf } from '../protocol/dhcp/message.ts';

export interface Destination {
  readonly address: Ipv4;
  readonly port: number;
}

const serverPort = 67;
const clientPort = 68;
const bootServerPort = 4011;

/**
 * A client without an address asks for a unicast to yiaddr by leaving the broadcast flag clear. It cannot answer ARP
 * yet, and writing neighbour entries for it takes a raw socket; every client accepts the broadcast, so it gets that.
 * @param asked where a request to the boot server's port came from; its answer goes back there (PXE 2.1 section 2.4.4)
 */
export function replyAddress(request: DhcpMessage, reply: DhcpMessage, asked?: Destination & { readonly ours: number }): Destination {
  if (asked?.ours === bootServerPort && asked.address !== anyAddress) {
    return { address: asked.address, port: asked.port };
  }
  if (request.giaddr !== anyAddress) {
    return { address: request.giaddr, port: serverPort };
  }
  if (messageTypeOf(reply) !== MessageType.Nak && request.ciaddr !== anyAddress) {
    return { address: request.ciaddr, port: clientPort };
  }
  return { address: limitedBroadcast, port: clientPort };
}
