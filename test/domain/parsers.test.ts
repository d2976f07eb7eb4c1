import { describe, expect, test } from 'vitest';
import { UserError } from '#src/domain/errors.ts';
import { contains, ipv4FromNumber, ipv4ToNumber, netmask, parseAddressRange, parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { parseMac } from '#src/domain/mac.ts';
import { parseMulticastGroup } from '#src/domain/multicast-group.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { expandRange } from '#src/domain/range.ts';
import { parseSerial, swappedUuid } from '#src/domain/serial.ts';

describe('multicast group', () => {
  test('an address with a port', () => {
    expect(parseMulticastGroup('224.0.0.251:6000')).toEqual({ address: '224.0.0.251', port: 6000 });
  });

  test.each(['', '239.1.2.3', '239.1.2.3:0', '239.1.2.3:65536', '192.168.1.1:6000', '240.0.0.1:1', '239.1.2:6', '239.1.2.300:6', 'x:1'])(
    '"%s" is refused',
    (input) => {
      expect(() => parseMulticastGroup(input)).toThrow(UserError);
    },
  );
});

describe('serial', () => {
  test.each([
    ['91cdf03d', '91cdf03d'],
    ['91CDF03D', '91cdf03d'],
    ['09b92bda', '09b92bda'],
    ['1000000091cdf03d', '91cdf03d'],
    ['0000000091cdf03d', '91cdf03d'],
    ['5F0C2A4E-7D1B-4E9A-8C36-2B90D4A17E55', '5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e55'],
  ])('%s is %s', (input, want) => {
    expect(parseSerial(input)).toBe(want);
  });

  test.each(['', '91cdf03', '91cdf03dd', 'xyz', '91cdf03g', '5f0c2a4e7d1b'])('"%s" is refused with an example', (input) => {
    expect(() => parseSerial(input)).toThrow(UserError);
    expect(() => parseSerial(input)).toThrow(/is not a serial number/);
  });

  test('a UUID swapped twice is itself', () => {
    const serial = parseSerial('5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e55');
    expect(swappedUuid(serial)).toBe('4e2a0c5f-1b7d-9a4e-8c36-2b90d4a17e55');
    expect(swappedUuid(swappedUuid(serial))).toBe(serial);
  });
});

describe('MAC', () => {
  test.each(['B8:27:EB:6C:4C:16', 'b8-27-eb-6c-4c-16', 'b827eb6c4c16'])('%s is read', (input) => {
    expect(parseMac(input)).toBe('b8:27:eb:6c:4c:16');
  });
  test.each(['', 'b8:27:eb:6c:4c', 'b8:27:eb:6c:4c:1g'])('"%s" is refused', (input) => {
    expect(() => parseMac(input)).toThrow(/is not a MAC address/);
  });
});

describe('IPv4', () => {
  test.each(['256.1.1.1', '1.2.3', '01.2.3.4', '1.2.3.4.5', 'a.b.c.d', ''])('"%s" is refused', (input) => {
    expect(() => parseIpv4(input)).toThrow(/is not an IPv4 address/);
  });
  test('numbers go both ways', () => {
    expect(ipv4FromNumber(ipv4ToNumber(parseIpv4('192.168.1.200')))).toBe('192.168.1.200');
  });
  test('subnets know their mask and members', () => {
    const subnet = parseSubnet('192.168.48.0/22');
    expect(netmask(subnet)).toBe('255.255.252.0');
    expect(contains(subnet, parseIpv4('192.168.51.255'))).toBe(true);
    expect(contains(subnet, parseIpv4('192.168.52.0'))).toBe(false);
  });
  test('host bits are refused with what was meant', () => {
    expect(() => parseSubnet('192.168.1.7/24')).toThrow(expect.objectContaining({ hint: 'Did you mean 192.168.1.0/24?' }));
  });
  test.each(['192.168.1.0', '192.168.1.0/33', '192.168.1.0/x', '10.0.0.0/7'])('"%s" is no subnet', (input) => {
    expect(() => parseSubnet(input)).toThrow(/is not a subnet/);
  });
  test('a range must not end before it begins', () => {
    expect(() => parseAddressRange('10.0.0.9-10.0.0.3')).toThrow(/ends before it begins/);
  });
});

describe('names', () => {
  test.each(['red5', 'a', 'rack-1-3'])('%s is a host name', (name) => {
    expect(parseNodeName(name)).toBe(name);
  });
  test.each(['Red5', '-a', 'a-', 'a_b', '', 'a'.repeat(64), '../x'])('"%s" is not', (name) => {
    expect(() => parseNodeName(name)).toThrow(/is not a node name/);
  });
});

describe('ranges', () => {
  test.each([
    ['red5', ['red5']],
    ['red[5-7]', ['red5', 'red6', 'red7']],
    ['red[001-003]', ['red001', 'red002', 'red003']],
    ['red[1-3,7]', ['red1', 'red2', 'red3', 'red7']],
    ['red[a-c]', ['reda', 'redb', 'redc']],
    ['192.168.1.[5-6]', ['192.168.1.5', '192.168.1.6']],
    ['r[1-2]n[1-2]', ['r1n1', 'r1n2', 'r2n1', 'r2n2']],
    ['red[9-11]', ['red9', 'red10', 'red11']],
  ])('%s', (text, want) => {
    expect(expandRange(text)).toEqual(want);
  });
  test.each(['red[5-', 'red]5', 'red[7-5]', 'red[01-100]', 'red[]', 'red[x!]', 'red[1-99999]', 'a[1-999]b[1-999]'])(
    '"%s" is refused',
    (text) => {
      expect(() => expandRange(text)).toThrow(/cannot be read/);
    },
  );
});
