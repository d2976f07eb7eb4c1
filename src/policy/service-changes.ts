/** What a service changes, in words: for `service list` and `--dry-run`. */
import type { Ipv4 } from '../domain/ipv4.ts';
import { type GatewayFacts, gatewayRules } from './gateway-rules.ts';
import type { Export } from './shared-directories.ts';

export function nameServerChanges(address: Ipv4, domain: string): string[] {
  return [`answers on UDP and TCP port 53 of ${address}`, `DHCP offers ${address} as name server, and the domain ${domain}`];
}

export function timeServerChanges(address: Ipv4, isLocal: boolean): string[] {
  const when = isLocal ? 'always' : 'while this clock is synchronised';
  return [
    `tells the time on UDP port 123 of ${address}, ${when}`,
    `DHCP offers ${address} as time server`,
    'nodes are given it for timesyncd and chrony at their next boot',
  ];
}

export function sharedChanges(facts: {
  readonly server: 'kernel' | 'ganesha';
  readonly address: Ipv4;
  readonly exports: readonly Export[];
  readonly file: string;
}): string[] {
  const { server, address, exports, file } = facts;
  return [
    server === 'kernel' ? `exports in ${file}; nfs-server runs` : `NFS-Ganesha runs on TCP port 2049 of ${address}`,
    ...exports.map(({ path, clients }) => {
      const writers = clients.filter(({ writable }) => writable).length;
      return `${path} for ${clients.length} nodes, ${writers} of which may write`;
    }),
    'nodes mount them from their next boot on',
  ];
}

/** @param opened files of /proc/sys that did not say 1 before */
export function gatewayChanges(facts: GatewayFacts, opened: readonly string[], address: Ipv4): string[] {
  return [
    facts.uplink === undefined ? 'no uplink: this machine has no default route' : `nodes reach the world by ${facts.uplink}`,
    ...opened.map((file) => `1 in ${file}`),
    ...gatewayRules(facts).map((line) => `nft ${line}`),
    `DHCP offers ${address} as router`,
  ];
}
