/** All that can be said about a fleet, and what is wrong with it. */
import type { Group } from './group.ts';
import type { Ipv4 } from './ipv4.ts';
import type { NodeRecord } from './node.ts';
import type { NodeSettings } from './node-settings.ts';

/** What people say about a node; the rest of its record is its life. */
export type FleetNode = Pick<NodeRecord, 'name' | 'serial' | 'macs' | 'address' | 'group' | 'own'>;

export type DnsRecord =
  | { readonly name: string; readonly type: 'A'; readonly address: Ipv4 }
  | { readonly name: string; readonly type: 'CNAME'; readonly target: string }
  | { readonly name: string; readonly type: 'TXT'; readonly text: readonly string[] }
  | {
      readonly name: string;
      readonly type: 'SRV';
      readonly target: string;
      readonly port: number;
      readonly priority: number;
      readonly weight: number;
    };

export interface Fleet {
  readonly everybody: NodeSettings;
  readonly groups: readonly Group[];
  readonly nodes: readonly FleetNode[];
  readonly dns: readonly DnsRecord[];
}

/** `path` leads to the place in the fleet file. */
export interface FleetProblem {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}
