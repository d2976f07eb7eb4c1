/** What the RFCs ask of a server, clause by clause. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ipv4FromNumber, parseAddressRange, parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { type DhcpDecision, type DhcpFacts, decideDhcp } from '#src/policy/decide-dhcp.ts';
import { serverSeen } from '#src/policy/detect-rival.ts';
import { chooseScope, type Scope } from '#src/policy/dhcp-scope.ts';
import { replyAddress } from '#src/policy/reply-address.ts';
import { type DhcpMessage, decodeDhcp, encodeDhcp, MessageType, messageTypeOf, optionOf } from '#src/protocol/dhcp/message.ts';
import { addressBytes, clientOf, fromSystem, read, replyOf, withOptions } from '../support/dhcp-messages.ts';

const server = parseIpv4('10.77.0.1');
const other = parseIpv4('10.77.0.2');
const address = parseIpv4('10.77.0.20');
const elsewhere = parseIpv4('192.168.1.5');
const facts: DhcpFacts = {
  mode: 'full',
  server,
  subnet: parseSubnet('10.77.0.0/24'),
  dns: [],
  leaseSeconds: 3600,
  ipxeUrl: 'http://10.77.0.1:8067/ipxe/start',
  programsUrl: 'http://10.77.0.1:8067/programs/',
  uefiLoader: 'ipxe',
  node: { name: 'red5' },
  address,
};
const pi3 = read('pi3-bootcode-discover');
const pi4 = read('pi4-eeprom-discover');
const ipxe = read('ipxe-discover');
const bios = withOptions(ipxe, { 77: undefined, 175: undefined });
const uefi = withOptions(bios, { 93: Buffer.from([0, 7]) });
const system = fromSystem(pi4);
const type = (value: number): Buffer => Buffer.from([value]);
const request = (base: DhcpMessage, options: Readonly<Record<number, Buffer | undefined>>, change: Partial<DhcpMessage> = {}) =>
  withOptions(base, { 53: type(MessageType.Request), ...options }, change);
const decide = (message: DhcpMessage, change: Partial<DhcpFacts> = {}): DhcpDecision =>
  decideDhcp(message, clientOf(message), { ...facts, ...change });

describe('RFC 2131 section 2.2: an address is probed before it is offered for the first time', () => {
  test('a new one is', () => {
    expect(decide(pi4, { isNew: true, needsProbe: true })).toEqual({ kind: 'probe', address });
  });
  test('one that is on record is not', () => {
    expect(decide(pi4).kind).toBe('offer');
  });
});

describe('RFC 2131 section 3.1: what has to be on disk, and when', () => {
  test('an offer to a client that will send a REQUEST is only remembered', () => {
    expect(decide(pi4)).toMatchObject({ kind: 'offer', keep: { address, durable: false } });
  });
  test('an offer to a board that never sends one is a lease', () => {
    expect(decide(pi3)).toMatchObject({ kind: 'offer', keep: { address, durable: true } });
    expect(decide(read('pi3-rom-discover'))).toMatchObject({ kind: 'offer', keep: { address, durable: true } });
  });
  test('an ACK is a lease', () => {
    expect(decide(request(pi4, { 50: addressBytes(address), 54: addressBytes(server) }))).toMatchObject({
      keep: { address, durable: true },
    });
  });
});

describe('RFC 2131 section 4.3.2: DHCPREQUEST', () => {
  test.each<[string, DhcpMessage, Partial<DhcpFacts>, object]>([
    [
      'SELECTING us, the offered address',
      request(system, { 54: addressBytes(server), 50: addressBytes(address) }),
      { isNew: true },
      { kind: 'ack' },
    ],
    ['SELECTING us, another address', request(system, { 54: addressBytes(server), 50: addressBytes(other) }), {}, { kind: 'nak' }],
    ['SELECTING another server', request(system, { 54: addressBytes(other), 50: addressBytes(address) }), {}, { reason: 'other-server' }],
    ['INIT-REBOOT with its address', request(system, { 50: addressBytes(address) }), {}, { kind: 'ack' }],
    ['INIT-REBOOT with another address of this link', request(system, { 50: addressBytes(other) }), {}, { kind: 'nak' }],
    ['INIT-REBOOT from another link', request(system, { 50: addressBytes(elsewhere) }), { isNew: true }, { kind: 'nak' }],
    ['INIT-REBOOT, and there is no record of it', request(system, { 50: addressBytes(address) }), { isNew: true }, { reason: 'no-record' }],
    ['RENEWING its address', request(system, {}, { ciaddr: address }), {}, { kind: 'ack' }],
    ['RENEWING another one', request(system, {}, { ciaddr: other }), {}, { kind: 'nak' }],
    ['REBINDING, and there is no record of it', request(system, {}, { ciaddr: other }), { isNew: true }, { reason: 'no-record' }],
    [
      'RENEWING the lease it runs on, after the operator wrote another address',
      request(system, {}, { ciaddr: other }),
      { current: other },
      { kind: 'ack' },
    ],
    [
      'INIT-REBOOT with that lease: it starts, and takes the new one',
      request(system, { 50: addressBytes(other) }),
      { current: other },
      { kind: 'nak' },
    ],
  ])('%s', (_name, message, change, want) => {
    expect(decide(message, change)).toMatchObject(want);
  });
  test('a running root keeps its address: the ACK is for the one in ciaddr', () => {
    const reply = replyOf(decide(request(system, {}, { ciaddr: other }), { current: other }));
    expect(reply).toMatchObject({ yiaddr: other, ciaddr: other });
  });
  test('a NAK through a relay has the broadcast flag', () => {
    const reply = replyOf(decide(request(system, { 50: addressBytes(other) }, { giaddr: parseIpv4('10.77.0.9') })));
    expect([messageTypeOf(reply), reply.flags, optionOf(reply, 51)]).toEqual([MessageType.Nak, 0x8000, undefined]);
  });
});

describe('RFC 2131 section 4.3.3: DHCPDECLINE', () => {
  const decline = withOptions(system, { 53: type(MessageType.Decline), 50: addressBytes(address), 54: addressBytes(server) });
  test('is heard and not answered', () => {
    expect(decide(decline)).toEqual({ kind: 'silence', reason: 'address-declined', declined: address });
  });
  test('of an address that another server gave is none of ours', () => {
    expect(decide(withOptions(decline, { 54: addressBytes(other) }))).toEqual({ kind: 'silence', reason: 'other-server' });
  });
});

describe('RFC 2131 section 4.3.5: DHCPINFORM', () => {
  const inform = withOptions(system, { 53: type(MessageType.Inform) }, { ciaddr: elsewhere });
  test('is answered without an address and without lease times, to ciaddr', () => {
    const reply = replyOf(decide(inform));
    expect(reply).toMatchObject({ yiaddr: '0.0.0.0', ciaddr: elsewhere });
    expect([51, 58, 59].map((code) => optionOf(reply, code))).toEqual([undefined, undefined, undefined]);
    expect(optionOf(reply, 1)?.toString('hex')).toBe('ffffff00');
    expect(replyAddress(inform, reply)).toEqual({ address: elsewhere, port: 68 });
  });
});

describe('RFC 2131 section 4.1: what the reply copies', () => {
  test('xid, flags, giaddr and chaddr for any request', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), fc.nat(0xffff), fc.nat(0xffffffff), (xid, flags, giaddr) => {
        const message = { ...pi4, xid, flags, giaddr: ipv4FromNumber(giaddr) };
        const reply = replyOf(decide(message));
        expect(reply).toMatchObject({ op: 2, hops: 0, xid, flags, giaddr: message.giaddr, chaddr: message.chaddr });
        expect(optionOf(reply, 54)).toEqual(addressBytes(server));
      }),
    );
  });
});

describe('RFC 2132 section 9.3 and 9.10: option overload and maximum message size', () => {
  const many = Array.from({ length: 60 }, (_, index) => ipv4FromNumber(0x0a000000 + index));
  test('a reply that is too long goes on in file and sname, and loses nothing', () => {
    const reply = replyOf(decide(request(system, {}, { ciaddr: address }), { dns: many.slice(0, 20), node: { name: 'x'.repeat(60) } }));
    expect(optionOf(reply, 52)).toBeUndefined();
    const names = many.slice(0, 40);
    const long = decodeDhcp(
      encodeDhcp(
        replyOf(decide(request(pi4, { 61: Buffer.alloc(90, 1), 54: addressBytes(server), 50: addressBytes(address) }), { dns: names })),
      ),
    );
    expect(optionOf(long, 52)?.toString('hex')).toMatch(/^0[123]$/);
    expect(optionOf(long, 6)).toEqual(Buffer.concat(names.map(addressBytes)));
    expect(optionOf(long, 61)).toEqual(Buffer.alloc(90, 1));
    expect(encodeDhcp(long).length).toBeLessThanOrEqual(548);
  });
  test('a client that takes more gets it in one piece', () => {
    const reply = replyOf(decide(withOptions(pi4, { 57: Buffer.from([5, 220]), 61: Buffer.alloc(90, 1) }), { dns: many.slice(0, 40) }));
    expect(optionOf(reply, 52)).toBeUndefined();
  });
});

describe('RFC 3011: subnet selection, and RFC 2131 section 4.3.1: giaddr', () => {
  const scope = (subnet: string, pool: string): Scope => ({ subnet: parseSubnet(subnet), pool: parseAddressRange(pool), dns: [] });
  const own = scope('10.77.0.0/24', '10.77.0.100-10.77.0.200');
  const far = scope('10.88.0.0/24', '10.88.0.100-10.88.0.200');
  test.each<[string, DhcpMessage, Scope | undefined]>([
    ['no relay: the link itself', pi4, own],
    ['a relay of the other subnet', { ...pi4, giaddr: parseIpv4('10.88.0.1') }, far],
    ['a relay of a subnet that is not ours', { ...pi4, giaddr: parseIpv4('10.99.0.1') }, undefined],
    ['option 118 before giaddr', withOptions(pi4, { 118: Buffer.from([10, 88, 0, 0]) }, { giaddr: parseIpv4('10.77.0.3') }), far],
  ])('%s', (_name, message, want) => {
    expect(chooseScope(message, [own, far])).toBe(want);
  });
  test('without a subnet there is no address, and the reason is told', () => {
    const { subnet: _subnet, ...rest } = facts;
    expect(decideDhcp(pi4, clientOf(pi4), rest)).toEqual({ kind: 'silence', reason: 'unknown-subnet' });
  });
  test('option 118 is echoed', () => {
    const selected = Buffer.from([10, 77, 0, 0]);
    expect(optionOf(replyOf(decide(withOptions(pi4, { 118: selected }))), 118)).toEqual(selected);
  });
});

describe('RFC 3046 section 2.2: relay agent information', () => {
  test('is echoed as it came, as the last option', () => {
    const agent = Buffer.from('0104706f7274', 'hex');
    const reply = replyOf(decide(withOptions(pi4, { 82: agent }, { giaddr: parseIpv4('10.77.0.9'), hops: 1 })));
    expect(reply.options.at(-1)).toEqual({ code: 82, data: agent });
    expect(replyAddress({ ...pi4, giaddr: parseIpv4('10.77.0.9') }, reply)).toEqual({ address: '10.77.0.9', port: 67 });
  });
});

describe('RFC 4578 and PXE 2.1: boot servers', () => {
  test('RFC 4578 section 2.3: option 97 is echoed', () => {
    expect(optionOf(replyOf(decide(bios)), 97)).toEqual(optionOf(bios, 97));
  });
  test('a proxy tells a BIOS everything at once', () => {
    const reply = replyOf(decide(bios, { mode: 'proxy' }));
    expect(reply.file.length).toBeGreaterThan(0);
    expect(optionOf(reply, 43)).toBeDefined();
  });
  test('a proxy tells UEFI only that it is there; the file name is asked for at port 4011', () => {
    const offer = replyOf(decide(uefi, { mode: 'proxy' }));
    expect(offer).toMatchObject({ siaddr: server, yiaddr: '0.0.0.0' });
    expect([offer.file.length, optionOf(offer, 43), optionOf(offer, 67)]).toEqual([0, undefined, undefined]);
    expect(optionOf(offer, 60)?.toString()).toBe('PXEClient');
    const asked = request(uefi, {}, { ciaddr: elsewhere });
    const ack = replyOf(decide(asked, { mode: 'proxy', port: 4011 }));
    expect([messageTypeOf(ack), ack.yiaddr, ack.siaddr]).toEqual([MessageType.Ack, '0.0.0.0', server]);
    expect(ack.file.length).toBeGreaterThan(0);
    expect(replyAddress(asked, ack, { address: elsewhere, port: 68, ours: 4011 })).toEqual({ address: elsewhere, port: 68 });
  });
  test('PXE 2.1 section 2.4.4: the entry of the menu that was picked is echoed', () => {
    const ack = replyOf(decide(request(bios, { 43: Buffer.from('470400000000ff', 'hex') }), { port: 4011 }));
    expect(optionOf(ack, 43)?.toString('hex')).toBe('060108470400000000ff');
  });
  test('at port 4011 nobody gets an address, and only firmware an answer', () => {
    expect(decide(bios, { port: 4011 })).toEqual({ kind: 'silence', reason: 'message-needs-no-answer' });
    expect(decide(request(system, {}), { port: 4011 })).toEqual({ kind: 'silence', reason: 'not-a-boot-client' });
  });
});

describe('RFC 6842: the client identifier is echoed', () => {
  test('and never changes whose address it is', () => {
    const duid = Buffer.from('ff00000001000300015254000001', 'hex');
    const reply = replyOf(decide(withOptions(system, { 61: duid })));
    expect([reply.yiaddr, optionOf(reply, 61)]).toEqual([address, duid]);
  });
});

describe('a node on hold', () => {
  const hold = { node: { name: 'red5', hold: true } };
  test('its firmware hears nothing, in either mode', () => {
    expect(decide(pi4, hold)).toEqual({ kind: 'silence', reason: 'on-hold' });
    expect(decide(ipxe, { ...hold, mode: 'proxy' })).toEqual({ kind: 'silence', reason: 'on-hold' });
  });
  test('its running system keeps its address', () => {
    expect(decide(request(system, {}, { ciaddr: address }), hold).kind).toBe('ack');
  });
});

describe('other servers are seen', () => {
  test.each<[string, DhcpMessage, string | undefined]>([
    ['a REQUEST names the one it chose', request(system, { 54: addressBytes(other) }), other],
    ['an OFFER of an address', withOptions(system, { 53: type(2), 54: addressBytes(other) }, { op: 2, yiaddr: address }), other],
    ["a proxy's offer, which gives none", withOptions(system, { 53: type(2), 54: addressBytes(other) }, { op: 2 }), undefined],
    ['a DISCOVER', pi4, undefined],
  ])('%s', (_name, message, want) => {
    expect(serverSeen(message)).toBe(want);
  });
});

test('any message at all gets a decision, and a silence has a reason', () => {
  const base = fc.constantFrom(pi3, pi4, ipxe, uefi, system);
  fc.assert(
    fc.property(
      base,
      fc.nat(12),
      fc.nat(0xffffffff),
      fc.constantFrom('full', 'proxy', 'off'),
      fc.boolean(),
      (message, kind, ciaddr, mode, isNew) => {
        const asked = withOptions(
          message,
          { 53: type(kind), 50: addressBytes(ipv4FromNumber(ciaddr)) },
          { ciaddr: ipv4FromNumber(ciaddr) },
        );
        const decision = decide(asked, { mode, isNew });
        if (decision.kind === 'silence') {
          expect(decision.reason).toMatch(/^[a-z-]+$/);
        } else if (decision.kind !== 'probe') {
          expect(decodeDhcp(encodeDhcp(decision.reply)).xid).toBe(message.xid);
        }
      },
    ),
  );
});
