import { describe, expect, test } from 'vitest';
import { parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { classifyClient } from '#src/policy/classify-client.ts';
import { type DhcpDecision, type DhcpFacts, decideDhcp } from '#src/policy/decide-dhcp.ts';
import { replyAddress } from '#src/policy/reply-address.ts';
import { replySchedule } from '#src/policy/reply-schedule.ts';
import { type DhcpMessage, decodeDhcp, encodeDhcp, optionOf } from '#src/protocol/dhcp/message.ts';
import { capture } from '../support/captures.ts';

const server = parseIpv4('10.77.0.1');
const address = parseIpv4('10.77.0.20');
const full: DhcpFacts = {
  mode: 'full',
  server,
  subnet: parseSubnet('10.77.0.0/24'),
  dns: [parseIpv4('10.77.0.1')],
  leaseSeconds: 86_400,
  ipxeUrl: 'http://10.77.0.1:8067/ipxe/start',
  programsUrl: 'http://10.77.0.1:8067/programs/',
  uefiLoader: 'ipxe',
  node: { name: 'red5' },
  address,
};
const proxy: DhcpFacts = { ...full, mode: 'proxy' };
const pi = decodeDhcp(capture('pi3-bootcode-discover'));
const ipxe = decodeDhcp(capture('ipxe-discover'));
const request = (base: DhcpMessage, options: Readonly<Record<number, string>>, change: Partial<DhcpMessage> = {}): DhcpMessage => ({
  ...base,
  ...change,
  options: [
    { code: 53, data: Buffer.from([3]) },
    ...base.options.filter((option) => option.code !== 53),
    ...Object.entries(options).map(([code, hex]) => ({ code: Number(code), data: Buffer.from(hex, 'hex') })),
  ],
});
const lease = (base: DhcpMessage): DhcpMessage => ({
  ...base,
  options: base.options.filter((option) => ![60, 77, 93, 94, 97, 175].includes(option.code)),
});

function decide(message: DhcpMessage, facts: DhcpFacts): DhcpDecision {
  const client = classifyClient(message);
  if (!client) {
    throw new Error('no client');
  }
  return decideDhcp(message, client, facts);
}

function replyOf(decision: DhcpDecision): DhcpMessage {
  if (decision.kind === 'silence' || decision.kind === 'probe') {
    throw new Error(JSON.stringify(decision));
  }
  return decision.reply;
}

describe('silence has a reason', () => {
  const nobody = (facts: DhcpFacts): DhcpFacts => {
    const { node: _node, address: _address, ...rest } = facts;
    return rest;
  };
  test.each<[string, DhcpMessage, DhcpFacts, string]>([
    ['an unknown Pi', pi, nobody(full), 'unknown-node'],
    ['a phone', lease(ipxe), nobody(full), 'not-a-boot-client'],
    ['a phone, in proxy mode', lease(ipxe), nobody(proxy), 'not-a-boot-client'],
    ["our own node's Linux, in proxy mode", lease(pi), proxy, 'proxy-gives-no-leases'],
    ['an interface that is off', pi, { ...full, mode: 'off' }, 'mode-off'],
    ['a full pool', pi, (({ address: _, ...rest }) => rest)(full), 'no-address-left'],
    ['a REQUEST to another server', request(pi, { 54: '0a4d0002', 50: '0a4d0014' }), full, 'other-server'],
    ['a REQUEST in proxy mode', request(ipxe, {}), proxy, 'other-server'],
    ['a reply', { ...pi, op: 2 }, full, 'not-a-request'],
    ['a RELEASE', { ...pi, options: [{ code: 53, data: Buffer.from([7]) }] }, full, 'message-needs-no-answer'],
    ['plain BOOTP', { ...pi, options: [] }, full, 'not-a-request'],
    [
      'firmware that we have nothing for',
      { ...ipxe, options: [...lease(ipxe).options, { code: 60, data: Buffer.from('U-Boot.armv8') }] },
      proxy,
      'firmware-not-served',
    ],
  ])('%s', (_name, message, facts, reason) => {
    expect(decide(message, facts)).toEqual({ kind: 'silence', reason });
  });
});

describe('Raspberry Pi', () => {
  test('full mode: one offer carries address, menu and server', () => {
    const reply = replyOf(decide(pi, full));
    expect(reply).toMatchObject({ op: 2, xid: pi.xid, yiaddr: address, siaddr: server });
    expect(optionOf(reply, 54)?.toString('hex')).toBe('0a4d0001');
    expect(optionOf(reply, 60)?.toString()).toBe('PXEClient');
    expect(optionOf(reply, 66)?.toString()).toBe('10.77.0.1');
    expect(optionOf(reply, 43)?.toString('latin1')).toContain('Raspberry Pi Boot   ');
    expect(optionOf(reply, 97)).toEqual(optionOf(pi, 97));
    expect(optionOf(reply, 1)?.toString('hex')).toBe('ffffff00');
    expect(optionOf(reply, 67)).toBeUndefined();
  });
  test('proxy mode: no address, the broadcast flag, the same menu', () => {
    const reply = replyOf(decide(pi, proxy));
    expect(reply).toMatchObject({ yiaddr: '0.0.0.0', flags: 0x8000, siaddr: server });
    expect(optionOf(reply, 43)?.toString('latin1')).toContain('Raspberry Pi Boot   ');
    expect(optionOf(reply, 51)).toBeUndefined();
  });
  test('never fewer than the 300 bytes that BOOTP clients expect', () => {
    expect(encodeDhcp(replyOf(decide(pi, proxy))).length).toBeGreaterThanOrEqual(300);
  });
  test('the mask ROM of a 3B hears the offer three times, every other board once and at once', () => {
    expect(replySchedule('pi3-rom', 'full')).toEqual([0, 600, 1200]);
    expect(replySchedule('pi3-rom', 'proxy')).toEqual([1200, 2200]);
    expect(replySchedule('pi4-eeprom', 'proxy')).toEqual([0]);
  });
});

describe('PC', () => {
  test('iPXE gets the URL of its script, never iPXE again', () => {
    const reply = replyOf(decide(ipxe, full));
    expect(reply.file.toString()).toBe('http://10.77.0.1:8067/ipxe/start');
    expect(optionOf(reply, 67)?.toString()).toBe('http://10.77.0.1:8067/ipxe/start');
  });
  test('a BIOS ROM gets iPXE and is told to use the file name', () => {
    const rom = { ...ipxe, options: ipxe.options.filter((option) => ![77, 175].includes(option.code)) };
    const reply = replyOf(decide(rom, proxy));
    expect(reply.file.toString()).toBe('undionly.kpxe');
    expect(optionOf(reply, 43)?.toString('hex')).toBe('060108ff');
  });
});

describe('RFC 2131 section 4.3.2: DHCPREQUEST', () => {
  test('for the reserved address it is acknowledged with the same options as the offer', () => {
    const decision = decide(request(ipxe, { 54: '0a4d0001', 50: '0a4d0014' }), full);
    expect(decision.kind).toBe('ack');
    expect(optionOf(replyOf(decision), 67)?.toString()).toBe('http://10.77.0.1:8067/ipxe/start');
  });
  test('for another address it is refused', () => {
    expect(decide(request(ipxe, { 54: '0a4d0001', 50: '0a4d0063' }), full).kind).toBe('nak');
  });
  test('renewal by ciaddr is acknowledged', () => {
    const decision = decide(request(lease(pi), {}, { ciaddr: address }), full);
    expect(decision.kind).toBe('ack');
    expect(optionOf(replyOf(decision), 43)).toBeUndefined();
  });
});

describe('RFC 2131 section 4.1: where a reply goes', () => {
  const offer = replyOf(decide(pi, full));
  test.each<[string, DhcpMessage, string, number]>([
    ['a client without an address: broadcast', pi, '255.255.255.255', 68],
    ['a renewing client: its address', { ...pi, ciaddr: address }, address, 68],
    ['behind a relay: the relay', { ...pi, giaddr: parseIpv4('10.9.0.1') }, '10.9.0.1', 67],
  ])('%s', (_name, message, want, port) => {
    expect(replyAddress(message, offer)).toEqual({ address: want, port });
  });
});
