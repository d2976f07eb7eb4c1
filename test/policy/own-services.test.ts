import { describe, expect, test } from 'vitest';
import { parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { noBoot } from '#src/policy/boot-information.ts';
import { informReply, leaseReply, type ReplyFacts } from '#src/policy/dhcp-reply.ts';
import { type OwnServices, type Scope, withOwnServices } from '#src/policy/dhcp-scope.ts';
import { decodeDhcp, encodeDhcp, optionOf } from '#src/protocol/dhcp/message.ts';
import { read, withOptions } from '../support/dhcp-messages.ts';

const address = parseIpv4('10.77.0.1');
const off: OwnServices = { address, nameServer: false, gateway: false, timeServer: false, domain: 'cluster.internal' };
const on: OwnServices = { ...off, nameServer: true, gateway: true, timeServer: true };
const subnet = parseSubnet('10.77.0.0/24');
const plain: Scope = { subnet, pool: { first: address, last: address }, dns: [] };

describe('what DHCP says of our own services', () => {
  test('nothing of what is off', () => {
    expect(withOwnServices(plain, off, true)).toEqual(plain);
  });
  test('our address, where the operator said nothing else', () => {
    expect(withOwnServices(plain, on, true)).toEqual({
      ...plain,
      router: address,
      dns: [address],
      domain: 'cluster.internal',
      timeServer: address,
    });
    const said: Scope = { ...plain, router: parseIpv4('10.77.0.254'), dns: [parseIpv4('9.9.9.9')] };
    expect(withOwnServices(said, on, true)).toMatchObject({ router: '10.77.0.254', dns: ['9.9.9.9'] });
  });
  test('behind a relay we are no router', () => {
    expect(withOwnServices(plain, on, false)).not.toHaveProperty('router');
    expect(withOwnServices(plain, on, false)).toMatchObject({ dns: [address], timeServer: address });
  });
});

describe('in the reply', () => {
  const facts: ReplyFacts = { server: address, leaseSeconds: 3600, ...withOwnServices(plain, on, true) };
  const request = withOptions(read('pi4-eeprom-discover'), { 55: Buffer.from([1, 3, 6, 15, 42, 119]) });
  const options = (reply: ReturnType<typeof leaseReply>): Record<number, string | undefined> => {
    const sent = decodeDhcp(encodeDhcp(reply));
    return Object.fromEntries([3, 6, 15, 42, 119].map((code) => [code, optionOf(sent, code)?.toString('hex')]));
  };
  const name = Buffer.from('cluster.internal').toString('hex');
  const search = Buffer.from('\x07cluster\x08internal\x00', 'latin1').toString('hex');
  test('options 3, 6, 15, 42, and 119 for who asks for it, in an ACK as in the answer to an INFORM', () => {
    const want = { 3: '0a4d0001', 6: '0a4d0001', 15: name, 42: '0a4d0001', 119: search };
    expect(options(leaseReply(request, facts, 5, parseIpv4('10.77.0.20'), noBoot))).toEqual(want);
    expect(options(informReply(request, facts, noBoot))).toEqual(want);
    const firmware = withOptions(request, { 55: Buffer.from([1, 3, 6]) });
    expect(options(leaseReply(firmware, facts, 5, parseIpv4('10.77.0.20'), noBoot))).toEqual({ ...want, 119: undefined });
  });
  test('none of them where no service is on', () => {
    const bare: ReplyFacts = { server: address, leaseSeconds: 3600, subnet: parseSubnet('10.77.0.0/24'), dns: [] };
    const none = { 3: undefined, 6: undefined, 15: undefined, 42: undefined, 119: undefined };
    expect(options(leaseReply(request, bare, 5, parseIpv4('10.77.0.20'), noBoot))).toEqual(none);
  });
});
