import type { Architecture } from '../domain/image.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { Node } from '../domain/node.ts';
import { architecturesOf } from '../policy/classify-client.ts';
import type { LeaseStore } from '../store/leases.ts';
import type { BootSessions } from './boot-sessions.ts';

/** Where a node is or will be found. */
export function nodeAddresses(sessions: Pick<BootSessions, 'of'>, leases: LeaseStore): (node: Node) => Ipv4 | undefined {
  return (node) => sessions.of(node.name)?.address ?? node.address ?? leases.addressesOf(node.name)[0];
}

/** As it booted last, or as its kind of machine usually is. */
export function nodeArchitectures(sessions: Pick<BootSessions, 'of'>): (node: Node) => Architecture {
  return (node) => sessions.of(node.name)?.arch ?? architecturesOf({ class: 'unknown' }, node.serial)[0];
}
