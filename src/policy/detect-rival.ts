/** Another DHCP server on the same link, as its own messages or a client's REQUEST show it. */
import { anyAddress, type Ipv4 } from '../domain/ipv4.ts';
import { addressOption, type DhcpMessage, MessageType, messageTypeOf, Op } from '../protocol/dhcp/message.ts';
import { OptionCode } from '../protocol/dhcp/option-code.ts';

/**
 * The server whose address leases these are: option 54 of a client's REQUEST, or of an OFFER or ACK that gives an
 * address. An offer without an address is a boot server's, which may stand beside us.
 */
export function serverSeen(message: DhcpMessage): Ipv4 | undefined {
  const type = messageTypeOf(message);
  const isChoice = message.op === Op.BootRequest && type === MessageType.Request;
  const isGift = message.op === Op.BootReply && (type === MessageType.Offer || type === MessageType.Ack) && message.yiaddr !== anyAddress;
  return isChoice || isGift ? addressOption(message, OptionCode.ServerIdentifier) : undefined;
}
