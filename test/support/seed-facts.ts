import type { SeedFacts } from '#src/policy/render-seed.ts';
import { operatorKey, testNode } from './nodes.ts';

export function seedFacts(change: Partial<SeedFacts> = {}): SeedFacts {
  return {
    node: testNode('red5'),
    domain: 'cluster.internal',
    sshCa: 'ssh-ed25519 AAAA ca',
    authorizedKeys: [operatorKey],
    hosts: [],
    ...change,
  };
}
