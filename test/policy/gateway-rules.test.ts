import { describe, expect, test } from 'vitest';
import { parseSubnet } from '#src/domain/ipv4.ts';
import { chooseUplink, forwardBlockers, gatewayRules, gatewayRuleset } from '#src/policy/gateway-rules.ts';

const link = { name: 'eth1', subnets: [parseSubnet('10.78.0.0/24'), parseSubnet('10.80.0.0/20')] };

describe('the rules', () => {
  test('as they are loaded', () => {
    expect(gatewayRules({ links: [link], uplink: 'wlan0', isUplinkOpened: true })).toEqual([
      'table inet cardless {',
      '  chain forward {',
      '    type filter hook forward priority filter; policy accept;',
      '    meta nfproto ipv6 accept',
      '    ct state established,related accept',
      '    iifname "eth1" oifname "eth1" accept',
      '    iifname "eth1" ip saddr != { 10.78.0.0/24, 10.80.0.0/20 } drop',
      '    iifname "eth1" oifname "wlan0" tcp flags syn tcp option maxseg size set rt mtu',
      '    iifname "eth1" oifname "wlan0" accept',
      '    iifname "eth1" drop',
      '    iifname "wlan0" oifname "eth1" drop',
      '    iifname "wlan0" ct status dnat accept',
      '    iifname "wlan0" drop',
      '  }',
      '  chain postrouting {',
      '    type nat hook postrouting priority srcnat; policy accept;',
      '    oifname "wlan0" ip saddr { 10.78.0.0/24, 10.80.0.0/20 } masquerade',
      '  }',
      '}',
    ]);
  });
  test('on a machine that forwarded before, what comes by the uplink for others is none of our business', () => {
    const rules = gatewayRules({ links: [link], uplink: 'wlan0', isUplinkOpened: false }).join('\n');
    expect(rules).toContain('iifname "wlan0" oifname "eth1" drop');
    expect(rules).not.toContain('iifname "wlan0" drop');
  });
  test('without an uplink nodes reach nothing, and nothing is rewritten', () => {
    const rules = gatewayRules({ links: [link], isUplinkOpened: false });
    expect(rules.filter((line) => line.includes('eth1'))).toEqual([
      '    iifname "eth1" oifname "eth1" accept',
      '    iifname "eth1" ip saddr != { 10.78.0.0/24, 10.80.0.0/20 } drop',
      '    iifname "eth1" drop',
    ]);
    expect(rules.join('\n')).not.toMatch(/nat|masquerade/);
  });
  test('what was there before is replaced in the same step', () => {
    expect(gatewayRuleset({ links: [link], isUplinkOpened: false })).toMatch(
      /^table inet cardless\ndelete table inet cardless\ntable inet cardless \{\n/,
    );
  });
});

test('the uplink is the default route that the kernel prefers, and never a subnet of nodes', () => {
  const routes = [{ dev: 'wlan0', metric: 600 }, { dev: 'eth0', metric: 100 }, { dev: 'eth1' }];
  expect(chooseUplink(routes, ['eth1'])).toBe('eth0');
  expect(chooseUplink(routes, ['eth0', 'eth1'])).toBe('wlan0');
  expect(chooseUplink([{ dev: 'eth1' }], ['eth1'])).toBeUndefined();
  expect(chooseUplink([], [])).toBeUndefined();
});

test('other firewalls that drop what is forwarded are named', () => {
  const chain = { family: 'ip', table: 'filter', name: 'FORWARD', hook: 'forward', policy: 'drop' };
  const chains = [
    chain,
    { ...chain, policy: 'accept' },
    { ...chain, hook: 'input' },
    { ...chain, family: 'ip6' },
    { ...chain, family: 'inet', table: 'cardless' },
    { family: 'inet', table: 'cardless', name: 'from' },
  ];
  expect(forwardBlockers(chains)).toEqual(['table ip filter chain FORWARD']);
});
