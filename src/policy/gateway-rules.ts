/**
 * The rules of the gateway, in a table that is ours alone. Nodes reach the uplink and nothing else, nobody reaches nodes but with
 * answers, and what other interfaces did before stays as it was: forwarding is opened for the interfaces that need it, not for
 * the machine, and what an interface that we opened brings in beyond that is dropped.
 */
import type { Subnet } from '../domain/ipv4.ts';

export const gatewayTable = 'inet cardless';

export interface GatewayFacts {
  readonly links: readonly { readonly name: string; readonly subnets: readonly Subnet[] }[];
  /** Absent while this machine has no way out itself. */
  readonly uplink?: string;
  /** The uplink forwards only since we are here. */
  readonly isUplinkOpened: boolean;
}

/** For `nft -f -`, which takes all of it or nothing. */
export function gatewayRuleset(facts: GatewayFacts): string {
  return `table ${gatewayTable}\ndelete table ${gatewayTable}\n${gatewayRules(facts).join('\n')}\n`;
}

export function gatewayRules({ links, uplink, isUplinkOpened }: GatewayFacts): string[] {
  const subnets = (of: GatewayFacts['links']): string =>
    `{ ${of.flatMap((link) => link.subnets.map(({ network, prefix }) => `${network}/${prefix}`)).join(', ')} }`;
  return [
    `table ${gatewayTable} {`,
    '  chain forward {',
    '    type filter hook forward priority filter; policy accept;',
    // We open nothing for IPv6, so there is nothing to close.
    '    meta nfproto ipv6 accept',
    '    ct state established,related accept',
    ...links.flatMap((link) => [
      // Where br_netfilter is loaded, a bridge shows us what its ports say to one another.
      `    iifname "${link.name}" oifname "${link.name}" accept`,
      `    iifname "${link.name}" ip saddr != ${subnets([link])} drop`,
      ...(uplink === undefined
        ? []
        : [
            // Links with a smaller MTU (PPPoE) on the way, whose messages about it are often lost.
            `    iifname "${link.name}" oifname "${uplink}" tcp flags syn tcp option maxseg size set rt mtu`,
            `    iifname "${link.name}" oifname "${uplink}" accept`,
          ]),
      `    iifname "${link.name}" drop`,
      ...(uplink === undefined ? [] : [`    iifname "${uplink}" oifname "${link.name}" drop`]),
    ]),
    // Ports that containers of this machine publish are let in on purpose.
    ...(uplink !== undefined && isUplinkOpened ? [`    iifname "${uplink}" ct status dnat accept`, `    iifname "${uplink}" drop`] : []),
    '  }',
    ...(uplink === undefined
      ? []
      : [
          '  chain postrouting {',
          '    type nat hook postrouting priority srcnat; policy accept;',
          `    oifname "${uplink}" ip saddr ${subnets(links)} masquerade`,
          '  }',
        ]),
    '}',
  ];
}

export interface DefaultRoute {
  readonly dev: string;
  readonly metric?: number | undefined;
}

/** The way out that the kernel prefers, which is never one of the subnets that we serve. */
export function chooseUplink(routes: readonly DefaultRoute[], links: readonly string[]): string | undefined {
  const [best] = routes.filter(({ dev }) => !links.includes(dev)).toSorted((a, b) => (a.metric ?? 0) - (b.metric ?? 0));
  return best?.dev;
}

export interface FirewallChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string | undefined;
  readonly policy?: string | undefined;
}

/** A packet has to pass every table: what we accept, a chain like these still drops. */
export function forwardBlockers(chains: readonly FirewallChain[]): string[] {
  return chains
    .filter(({ family, table }) => `${family} ${table}` !== gatewayTable && (family === 'ip' || family === 'inet'))
    .filter(({ hook, policy }) => hook === 'forward' && policy === 'drop')
    .map(({ family, table, name }) => `table ${family} ${table} chain ${name}`);
}
