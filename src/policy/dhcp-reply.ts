/** The fields and options of a reply (RFC 2131 section 4.3.1, table 3). */
import { anyAddress, broadcastOf, type Ipv4, ipv4Bytes, netmask, type Subnet } from '../domain/ipv4.ts';
import { type DhcpMessage, type DhcpOption, MessageType, Op, optionOf, paddingFor, withBroadcast } from '../protocol/dhcp/message.ts';
import { OptionCode } from '../protocol/dhcp/option-code.ts';
import { fitMessage, maxMessageBytes } from '../protocol/dhcp/overload.ts';
import { encodeName } from '../protocol/dns/name.ts';
import { type BootInformation, noBoot, option } from './boot-information.ts';

export interface ReplyFacts {
  readonly server: Ipv4;
  readonly leaseSeconds: number;
  readonly subnet?: Subnet;
  readonly router?: Ipv4;
  readonly dns: readonly Ipv4[];
  /** Where nodes look for names without a domain. */
  readonly domain?: string;
  readonly timeServer?: Ipv4;
  readonly node?: { readonly name: string };
}

const typeOptions = Object.values(MessageType).map((type) => option(OptionCode.MessageType, [type]));
const noName = Buffer.alloc(0);
const noFile = Buffer.alloc(0);

/** OFFER or ACK with an address. */
export function leaseReply(request: DhcpMessage, facts: ReplyFacts, type: number, address: Ipv4, boot: BootInformation): DhcpMessage {
  const { times, link } = linkOptions(facts);
  return reply(request, facts, type, address, boot, [...times, ...link, ...nameOption(facts), ...searchOption(request, facts)]);
}

/** RFC 2131 section 4.3.5: the answer to an INFORM has neither an address nor lease times. */
export function informReply(request: DhcpMessage, facts: ReplyFacts, boot: BootInformation): DhcpMessage {
  return reply(request, facts, MessageType.Ack, anyAddress, boot, [
    ...linkOptions(facts).link,
    ...nameOption(facts),
    ...searchOption(request, facts),
  ]);
}

/** What a proxy says: where to boot from, nothing about addresses. */
export function bootReply(request: DhcpMessage, facts: ReplyFacts, type: number, boot: BootInformation): DhcpMessage {
  const answer = reply(request, facts, type, anyAddress, boot, []);
  // The client has no address from us, and may have none at all.
  return { ...answer, flags: withBroadcast(request.flags) };
}

export function nakReply(request: DhcpMessage, facts: ReplyFacts): DhcpMessage {
  const nak = reply(request, facts, MessageType.Nak, anyAddress, noBoot, []);
  // RFC 2131 section 4.3.2: the relay must broadcast it, for the client's address is not one of its link.
  return { ...nak, flags: request.giaddr === anyAddress ? nak.flags : withBroadcast(nak.flags) };
}

interface LinkOptions {
  readonly of: ReplyFacts;
  readonly times: readonly DhcpOption[];
  readonly link: readonly DhcpOption[];
}

/** The options that every client of a subnet gets alike; made once, for they are most of the work of a reply. */
const madeFor = new WeakMap<object, LinkOptions>();

function linkOptions(facts: ReplyFacts): LinkOptions {
  const { subnet, router, dns, domain, timeServer, leaseSeconds } = facts;
  const known = subnet && madeFor.get(subnet);
  if (
    known &&
    known.of.router === router &&
    known.of.dns === dns &&
    known.of.domain === domain &&
    known.of.timeServer === timeServer &&
    known.of.leaseSeconds === leaseSeconds
  ) {
    return known;
  }
  const made: LinkOptions = {
    of: facts,
    times: [
      option(OptionCode.IpAddressLeaseTime, uint32(leaseSeconds)),
      option(OptionCode.RenewalTime, uint32(Math.floor(leaseSeconds / 2))),
      option(OptionCode.RebindingTime, uint32(Math.floor((leaseSeconds * 7) / 8))),
    ],
    link: [
      ...(subnet
        ? [option(OptionCode.SubnetMask, ipv4Bytes(netmask(subnet))), option(OptionCode.BroadcastAddress, ipv4Bytes(broadcastOf(subnet)))]
        : []),
      ...(router ? [option(OptionCode.Router, ipv4Bytes(router))] : []),
      ...(domain === undefined ? [] : [option(OptionCode.DomainName, domain)]),
      ...(timeServer ? [option(OptionCode.NtpServers, ipv4Bytes(timeServer))] : []),
      ...(dns.length > 0 ? [option(OptionCode.DomainNameServer, Buffer.concat(dns.map(ipv4Bytes)))] : []),
    ],
  };
  if (subnet) {
    madeFor.set(subnet, made);
  }
  return made;
}

// BOUNDED: one per address that this server has had.
const serverOptions = new Map<Ipv4, DhcpOption>();

function serverOption(server: Ipv4): DhcpOption {
  const known = serverOptions.get(server) ?? option(OptionCode.ServerIdentifier, ipv4Bytes(server));
  serverOptions.set(server, known);
  return known;
}

/** Made once for each node: its record stays the same object until it changes. */
const namesOf = new WeakMap<object, DhcpOption[]>();

/** RFC 3397, only to who asks for it: it says no more than option 15, and firmware has little room. */
function searchOption(request: DhcpMessage, { domain }: ReplyFacts): DhcpOption[] {
  const isAsked = optionOf(request, OptionCode.ParameterRequestList)?.includes(OptionCode.DomainSearch) ?? false;
  return domain === undefined || !isAsked ? [] : [option(OptionCode.DomainSearch, encodeName(domain))];
}

function nameOption({ node }: ReplyFacts): DhcpOption[] {
  if (node === undefined) {
    return [];
  }
  const known = namesOf.get(node);
  if (known) {
    return known;
  }
  const made = [option(OptionCode.HostName, node.name)];
  namesOf.set(node, made);
  return made;
}

function reply(
  request: DhcpMessage,
  facts: ReplyFacts,
  type: number,
  yiaddr: Ipv4,
  boot: BootInformation,
  middle: readonly DhcpOption[],
): DhcpMessage {
  const options = [
    typeOption(type),
    serverOption(facts.server),
    ...middle,
    ...boot.options,
    // RFC 6842 section 3; RFC 3011 section 3.
    ...echo(request, OptionCode.ClientIdentifier),
    ...echo(request, OptionCode.SubnetSelection),
    // RFC 3046 section 2.2: as it came, and last.
    ...echo(request, OptionCode.RelayAgentInformation),
  ];
  const message: DhcpMessage = {
    op: Op.BootReply,
    htype: request.htype,
    hlen: request.hlen,
    hops: 0,
    xid: request.xid,
    secs: 0,
    flags: request.flags,
    ciaddr: type === MessageType.Ack ? request.ciaddr : anyAddress,
    yiaddr,
    siaddr: boot.siaddr,
    giaddr: request.giaddr,
    chaddr: request.chaddr,
    sname: noName,
    file: boot.file === '' ? noFile : Buffer.from(boot.file, 'latin1'),
    options,
    padding: paddingFor(options),
  };
  return fitMessage(message, maxMessageBytes(optionOf(request, OptionCode.MaxMessageSize)));
}

function typeOption(type: number): DhcpOption {
  return typeOptions[type - 1] ?? option(OptionCode.MessageType, [type]);
}

function echo(request: DhcpMessage, code: number): DhcpOption[] {
  const data = optionOf(request, code);
  return data ? [{ code, data }] : [];
}

function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
