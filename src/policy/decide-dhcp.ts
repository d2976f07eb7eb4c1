/**
 * What to answer, or why to be silent. RFC 2131 section 4.3 for addresses, PXE 2.1 for boot information, pi-netboot A.2
 * for Raspberry Pis. We answer machines that ask to boot from the network and our own nodes, nobody else.
 */
import { anyAddress, contains, type Ipv4 } from '../domain/ipv4.ts';
import { addressOption, type DhcpMessage, MessageType, messageTypeOf, Op, optionOf } from '../protocol/dhcp/message.ts';
import { OptionCode } from '../protocol/dhcp/option-code.ts';
import { echoBootItem } from '../protocol/dhcp/pxe-vendor.ts';
import { firstUefiCode } from './architecture-codes.ts';
import { type BootInformation, type BootOffer, bootInformation } from './boot-information.ts';
import { type Client, neverRequests } from './classify-client.ts';
import { bootReply, informReply, leaseReply, nakReply, type ReplyFacts } from './dhcp-reply.ts';

export type DhcpMode = 'full' | 'proxy' | 'off';

/** What is known about the address of a machine, in mode full. */
export interface AddressFacts {
  /** The one it has, or the one it would get. */
  readonly address?: Ipv4;
  /** Nobody gave it to this machine yet: not on record, not offered, not written by the operator. */
  readonly isNew?: boolean;
  /** Nobody has looked yet whether something on the link uses it already (RFC 2131 section 2.2). */
  readonly needsProbe?: boolean;
  /** The lease on record. It may be another one, when the operator wrote a new address or moved the pool since. */
  readonly current?: Ipv4;
  /** The address that the operator wrote is used by another machine. */
  readonly isInUse?: boolean;
}

export interface DhcpFacts extends BootOffer, ReplyFacts, AddressFacts {
  readonly mode: DhcpMode;
  /** Which of our ports heard it; 4011 is that of PXE boot servers. */
  readonly port?: 67 | 4011;
  /** Set when this machine is one of our nodes. */
  readonly node?: { readonly name: string; readonly hold?: boolean };
}

export type SilenceReason =
  | 'not-a-request'
  | 'mode-off'
  | 'not-a-boot-client'
  | 'unknown-node'
  | 'on-hold'
  | 'other-server'
  | 'proxy-gives-no-leases'
  | 'unknown-subnet'
  | 'no-address-left'
  | 'address-in-use'
  | 'no-record'
  | 'address-declined'
  | 'firmware-not-served'
  | 'message-needs-no-answer';

/** An address that goes with a reply: on disk before it is sent, or only remembered until the client asks for it. */
export interface Keep {
  readonly address: Ipv4;
  readonly durable: boolean;
}

export type DhcpAnswer =
  | { readonly kind: 'offer' | 'ack' | 'nak'; readonly reply: DhcpMessage; readonly keep?: Keep }
  /** `declined`: an address that this client found in use. */
  | { readonly kind: 'silence'; readonly reason: SilenceReason; readonly declined?: Ipv4 };

/** Or: look whether anybody uses this address, then decide again. */
export type DhcpDecision = DhcpAnswer | { readonly kind: 'probe'; readonly address: Ipv4 };

/** Is this message one that a server answers at all? (First of the five questions.) */
export function isOurs(request: DhcpMessage): boolean {
  return request.op === Op.BootRequest && messageTypeOf(request) !== undefined;
}

export function decideDhcp(request: DhcpMessage, client: Client, facts: DhcpFacts): DhcpDecision {
  const type = messageTypeOf(request);
  if (!isOurs(request)) {
    return silence('not-a-request');
  }
  if (facts.mode === 'off') {
    return silence('mode-off');
  }
  if (type === MessageType.Release || (type ?? 0) > MessageType.Inform) {
    // A node keeps its address for as long as it is registered, so there is nothing to take back.
    return silence('message-needs-no-answer');
  }
  if (!facts.node) {
    return silence(client.class === 'lease' ? 'not-a-boot-client' : 'unknown-node');
  }
  if (type === MessageType.Decline) {
    return decideDecline(request, facts);
  }
  if (facts.node.hold && client.class !== 'lease') {
    return silence('on-hold');
  }
  const boot = bootInformation(request, client, facts);
  if (boot === undefined) {
    return silence('firmware-not-served');
  }
  if (facts.port === 4011) {
    return decideBootServer(request, client, facts, boot);
  }
  return facts.mode === 'proxy' ? decideProxy(request, client, facts, boot) : decideFull(request, client, facts, boot);
}

/** RFC 2131 section 4.3.3. */
function decideDecline(request: DhcpMessage, facts: DhcpFacts): DhcpDecision {
  const declined = addressOption(request, OptionCode.RequestedIpAddress);
  if (addressOption(request, OptionCode.ServerIdentifier) !== facts.server) {
    return silence('other-server');
  }
  return declined === undefined || facts.mode !== 'full'
    ? silence('message-needs-no-answer')
    : { kind: 'silence', reason: 'address-declined', declined };
}

/** PXE 2.1 section 2.4.4: who asks the boot server's own port has an address and wants a file name. */
function decideBootServer(request: DhcpMessage, client: Client, facts: DhcpFacts, boot: BootInformation): DhcpDecision {
  const type = messageTypeOf(request);
  if (client.class === 'lease') {
    return silence('not-a-boot-client');
  }
  if (type !== MessageType.Request && type !== MessageType.Inform) {
    return silence('message-needs-no-answer');
  }
  const asked = optionOf(request, OptionCode.VendorSpecific);
  const options = boot.options.map((entry) => (entry.code === OptionCode.VendorSpecific ? echoBootItem(entry, asked) : entry));
  return { kind: 'ack', reply: bootReply(request, facts, MessageType.Ack, { ...boot, options }) };
}

function decideProxy(request: DhcpMessage, client: Client, facts: DhcpFacts, boot: BootInformation): DhcpDecision {
  if (client.class === 'lease') {
    return silence('proxy-gives-no-leases');
  }
  if (messageTypeOf(request) !== MessageType.Discover) {
    // The REQUEST confirms the address, which is the router's business (PXE 2.1 section 2.2.2).
    return silence('other-server');
  }
  const asksBootServer = client.class === 'pxe' && (client.pxeArch ?? 0) >= firstUefiCode;
  return { kind: 'offer', reply: bootReply(request, facts, MessageType.Offer, asksBootServer ? withoutFile(boot) : boot) };
}

/** UEFI then asks port 4011 (EDK2: an offer with option 60 alone is of type BINL), which avoids its trouble with menus. */
function withoutFile(boot: BootInformation): BootInformation {
  const kept: readonly number[] = [OptionCode.VendorClassIdentifier, OptionCode.ClientMachineIdentifier];
  return { siaddr: boot.siaddr, file: '', options: boot.options.filter(({ code }) => kept.includes(code)) };
}

function decideFull(request: DhcpMessage, client: Client, facts: DhcpFacts, boot: BootInformation): DhcpDecision {
  const { address } = facts;
  if (messageTypeOf(request) === MessageType.Inform) {
    return { kind: 'ack', reply: informReply(request, facts, boot) };
  }
  if (facts.subnet === undefined) {
    return silence('unknown-subnet');
  }
  if (address === undefined) {
    return silence(facts.isInUse ? 'address-in-use' : 'no-address-left');
  }
  if (messageTypeOf(request) === MessageType.Request) {
    return decideRequest(request, facts, address, boot);
  }
  if (facts.needsProbe) {
    return { kind: 'probe', address };
  }
  const keep = { address, durable: neverRequests(client) };
  return { kind: 'offer', reply: leaseReply(request, facts, MessageType.Offer, address, boot), keep };
}

/** RFC 2131 section 4.3.2: the state of the client shows in which of the three addresses it sends. */
function decideRequest(request: DhcpMessage, facts: DhcpFacts, address: Ipv4, boot: BootInformation): DhcpDecision {
  const chosen = addressOption(request, OptionCode.ServerIdentifier);
  const requested = addressOption(request, OptionCode.RequestedIpAddress);
  const ack = (kept: Ipv4): DhcpDecision => ({
    kind: 'ack',
    reply: leaseReply(request, facts, MessageType.Ack, kept, boot),
    keep: { address: kept, durable: true },
  });
  const nak: DhcpDecision = { kind: 'nak', reply: nakReply(request, facts) };
  if (chosen !== undefined) {
    // SELECTING.
    if (chosen !== facts.server) {
      return silence('other-server');
    }
    return (requested ?? request.ciaddr) === address ? ack(address) : nak;
  }
  if (request.ciaddr === anyAddress) {
    // INIT-REBOOT.
    const isOnLink = facts.subnet !== undefined && requested !== undefined && contains(facts.subnet, requested);
    if (facts.isNew && isOnLink) {
      return silence('no-record');
    }
    return requested === address && !facts.isNew ? ack(address) : nak;
  }
  // RENEWING or REBINDING: a system runs on this address, and its root would be lost with it.
  if (request.ciaddr === address || request.ciaddr === facts.current) {
    return ack(request.ciaddr);
  }
  return facts.isNew ? silence('no-record') : nak;
}

function silence(reason: SilenceReason): DhcpDecision {
  return { kind: 'silence', reason };
}
