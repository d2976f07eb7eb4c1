import type { BenchNetwork } from './bench-network.ts';
import type { LoadClients } from './load-clients.ts';
import type { PeerPrograms } from './peers.ts';
import type { BenchProgress } from './progress.ts';

/** What every part of a benchmark works with. */
export interface Bench {
  readonly network: BenchNetwork;
  readonly load: LoadClients;
  readonly programs: PeerPrograms;
  readonly progress: BenchProgress;
  /** For states, leases and files; emptied at every start. */
  readonly directory: string;
  readonly signal: AbortSignal;
}
