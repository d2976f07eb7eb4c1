/**
 * What to answer, or why to be silent. RFC 2131 section 4.3 for addresses, PXE 2.1 for boot information, pi-netboot A.2
 * for Raspberry Pis. We answer machines that ask to boot from the network and our own nodes, nobody else.
 */
import { anyAddress, broadcastOf, type Ipv4, ipv4Bytes, netmask, type Subnet } from '../domain/ipv4.ts';
import {
  addressOption,
  type DhcpMessage,
  type DhcpOption,
  MessageType,
  messageTypeOf,
  Op,
  paddingFor,
  withBroadcast,
} from '../protocol/dhcp/message.ts';
import { OptionCode } from '../protocol/dhcp/option-code.ts';
import { type BootInformation, type BootOffer, bootInformation, noBoot, option } from './boot-information.ts';
import type { Client } from './classify-client.ts';

export type DhcpMode = 'full' | 'proxy' | 'off';

export interface DhcpFacts extends BootOffer {
  readonly mode: DhcpMode;
  readonly subnet: Subnet;
  readonly router?: Ipv4;
  readonly dns: readonly Ipv4[];
  readonly leaseSeconds: number;
  /** Set when this machine is one of our nodes. */
  readonly node?: { readonly name: string };
  /** Mode full: the address kept for this MAC. It is stored before this is called. */
  readonly address?: Ipv4;
}

export type SilenceReason =
  | 'not-a-request'
  | 'mode-off'
  | 'not-a-boot-client'
  | 'unknown-node'
  | 'other-server'
  | 'proxy-gives-no-leases'
  | 'no-address-left'
  | 'firmware-not-served'
  | 'message-needs-no-answer';

export type DhcpDecision =
  | { readonly kind: 'offer' | 'ack' | 'nak'; readonly reply: DhcpMessage }
  | { readonly kind: 'silence'; readonly reason: SilenceReason };

/** Is this message one that a server answers at all? (First of the five questions.) */
export function isOurs(request: DhcpMessage): boolean {
  return request.op === Op.BootRequest && messageTypeOf(request) !== undefined;
}

export function decideDhcp(request: DhcpMessage, client: Client, facts: DhcpFacts): DhcpDecision {
  if (!isOurs(request)) {
    return silence('not-a-request');
  }
  if (facts.mode === 'off') {
    return silence('mode-off');
  }
  const type = messageTypeOf(request);
  if (type !== MessageType.Discover && type !== MessageType.Request) {
    return silence('message-needs-no-answer');
  }
  if (!facts.node) {
    return silence(client.class === 'lease' ? 'not-a-boot-client' : 'unknown-node');
  }
  const boot = bootInformation(request, client, facts);
  if (boot === undefined) {
    return silence('firmware-not-served');
  }
  return facts.mode === 'proxy' ? decideProxy(request, client, facts, boot) : decideFull(request, facts, boot);
}

function decideProxy(request: DhcpMessage, client: Client, facts: DhcpFacts, boot: BootInformation): DhcpDecision {
  if (client.class === 'lease') {
    return silence('proxy-gives-no-leases');
  }
  if (messageTypeOf(request) !== MessageType.Discover) {
    // The REQUEST confirms the address, which is the router's business (PXE 2.1 section 2.2.2).
    return silence('other-server');
  }
  const options = [option(OptionCode.MessageType, [MessageType.Offer]), serverIdentifier(facts), ...boot.options];
  return { kind: 'offer', reply: reply(request, facts, anyAddress, boot, options) };
}

function decideFull(request: DhcpMessage, facts: DhcpFacts, boot: BootInformation): DhcpDecision {
  const { address } = facts;
  if (address === undefined) {
    return silence('no-address-left');
  }
  if (messageTypeOf(request) === MessageType.Discover) {
    return { kind: 'offer', reply: leaseReply(request, facts, MessageType.Offer, address, boot) };
  }
  const chosen = addressOption(request, OptionCode.ServerIdentifier);
  if (chosen !== undefined && chosen !== facts.server) {
    return silence('other-server');
  }
  const wanted = addressOption(request, OptionCode.RequestedIpAddress) ?? request.ciaddr;
  if (wanted !== address) {
    const options = [option(OptionCode.MessageType, [MessageType.Nak]), serverIdentifier(facts)];
    return { kind: 'nak', reply: reply(request, facts, anyAddress, noBoot, options) };
  }
  return { kind: 'ack', reply: leaseReply(request, facts, MessageType.Ack, address, boot) };
}

function leaseReply(request: DhcpMessage, facts: DhcpFacts, type: number, address: Ipv4, boot: BootInformation): DhcpMessage {
  const seconds = facts.leaseSeconds;
  const options = [
    option(OptionCode.MessageType, [type]),
    serverIdentifier(facts),
    option(OptionCode.IpAddressLeaseTime, uint32(seconds)),
    option(OptionCode.RenewalTime, uint32(Math.floor(seconds / 2))),
    option(OptionCode.RebindingTime, uint32(Math.floor((seconds * 7) / 8))),
    option(OptionCode.SubnetMask, ipv4Bytes(netmask(facts.subnet))),
    option(OptionCode.BroadcastAddress, ipv4Bytes(broadcastOf(facts.subnet))),
    ...(facts.router ? [option(OptionCode.Router, ipv4Bytes(facts.router))] : []),
    ...(facts.dns.length > 0 ? [option(OptionCode.DomainNameServer, Buffer.concat(facts.dns.map(ipv4Bytes)))] : []),
    ...(facts.node ? [option(OptionCode.HostName, facts.node.name)] : []),
    ...boot.options,
  ];
  return reply(request, facts, address, boot, options);
}

function reply(request: DhcpMessage, facts: DhcpFacts, yiaddr: Ipv4, boot: BootInformation, options: readonly DhcpOption[]): DhcpMessage {
  return {
    op: Op.BootReply,
    htype: request.htype,
    hlen: request.hlen,
    hops: 0,
    xid: request.xid,
    secs: 0,
    // A proxy's offer is for a client that has no address from us, so it always goes out as a broadcast.
    flags: facts.mode === 'proxy' ? withBroadcast(request.flags) : request.flags,
    ciaddr: anyAddress,
    yiaddr,
    siaddr: boot.siaddr,
    giaddr: request.giaddr,
    chaddr: request.chaddr,
    sname: Buffer.alloc(64),
    file: Buffer.from(boot.file, 'latin1'),
    options,
    padding: paddingFor(options),
  };
}

function serverIdentifier(facts: DhcpFacts): DhcpOption {
  return option(OptionCode.ServerIdentifier, ipv4Bytes(facts.server));
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function silence(reason: SilenceReason): DhcpDecision {
  return { kind: 'silence', reason };
}
