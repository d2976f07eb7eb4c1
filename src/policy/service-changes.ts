/** What a service changes, in words: for `service list` and `--dry-run`. */
import type { Ipv4 } from '../domain/ipv4.ts';

export function nameServerChanges(address: Ipv4, domain: string): string[] {
  return [`answers on UDP and TCP port 53 of ${address}`, `DHCP offers ${address} as name server, and the domain ${domain}`];
}
