/** All contenders' servers, started, each on a network of its own. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Contender } from '../contender.ts';
import type { BenchProgress } from '../progress.ts';
import { guestAt } from './root-guests.ts';
import { RootNetwork } from './root-network.ts';
import { type OurRootServer, startLtsp, startNfs, startOurs } from './root-servers.ts';
import type { RootTrees } from './root-tree.ts';

export interface RootContender {
  readonly server: Contender;
  readonly network: RootNetwork;
}

export interface RootArena extends AsyncDisposable {
  readonly directory: string;
  readonly contenders: readonly RootContender[];
  readonly ours: OurRootServer;
  readonly ourNetwork: RootNetwork;
}

export interface ArenaOptions {
  readonly trees: RootTrees;
  readonly directory: string;
  readonly guests: number;
  readonly withPeers: boolean;
  readonly progress: BenchProgress;
  readonly signal: AbortSignal;
}

export async function openArena({ trees, directory, guests, withPeers, progress, signal }: ArenaOptions): Promise<RootArena> {
  await using stack = new AsyncDisposableStack();
  progress.show('starting the servers');
  await mkdir(directory, { recursive: true });
  const ourNetwork = stack.use(await RootNetwork.create('ours'));
  const ours = stack.use(await startOurs(ourNetwork.segment, trees, join(directory, 'ours'), signal));
  for (const { name, mac, serial } of Array.from({ length: guests }, (_, index) => guestAt(index))) {
    // What a node writes stays in its memory, as with the peers.
    await ours.client.call('POST', '/nodes', { name, mac, serial, overlay: 'ephemeral' });
  }
  const contenders: RootContender[] = [{ server: ours, network: ourNetwork }];
  for (const [name, start] of withPeers
    ? ([
        ['ltsp', startLtsp],
        ['nfs', startNfs],
      ] as const)
    : []) {
    const network = stack.use(await RootNetwork.create(name));
    const server = stack.use(await start(network.segment, trees, join(directory, name)));
    contenders.push({ server, network });
  }
  const owned = stack.move();
  return { directory, contenders, ours, ourNetwork, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
