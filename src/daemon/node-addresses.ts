import type { Ipv4 } from '../domain/ipv4.ts';
import type { Node } from '../domain/node.ts';
import type { LeaseStore } from '../store/leases.ts';
import type { BootSessions } from './boot-sessions.ts';

/** Where a node is or will be found. */
export function nodeAddresses(sessions: Pick<BootSessions, 'of'>, leases: LeaseStore): (node: Node) => Ipv4 | undefined {
  return (node) => sessions.of(node.name)?.address ?? node.address ?? leases.addressesOf(node.name)[0];
}
