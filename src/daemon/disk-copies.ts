/** Copies of disks that nodes may be writing to, for snapshots, clones, views and commits alike. */
import type { ImageDigest } from '../domain/image.ts';
import type { NodeName } from '../domain/node.ts';
import type { CopiedState } from '../domain/overlay.ts';
import { checkCopy } from '../overlays/check-disk.ts';
import { copyAtRest, type Freeze } from '../overlays/copy-at-rest.ts';
import type { AgentOrders } from './agent-orders.ts';
import { type InUseFacts, isAwaited } from './overlay-target.ts';

export interface DiskCopiesOptions extends InUseFacts {
  readonly agents: Pick<AgentOrders, 'whileFrozen'>;
  /** Nobody writes to this disk until the result is disposed. Whoever uses it waits meanwhile. */
  readonly hold: (disk: string) => Promise<AsyncDisposable>;
}

export class DiskCopies {
  readonly #options: DiskCopiesOptions;

  constructor(options: DiskCopiesOptions) {
    this.#options = options;
  }

  /** As the disk was at one moment; not checked. The agent is asked to hold it still, and without it its writes are held back. */
  async take(name: NodeName, digest: ImageDigest, to: string, signal?: AbortSignal): Promise<CopiedState> {
    const { overlays, sessions, agents, hold } = this.#options;
    await overlays.requireDisk(name, digest);
    const runsOnIt = sessions.of(name)?.digest === digest;
    const freeze: Freeze = (work) => agents.whileFrozen(name, work, signal);
    const awaited = await isAwaited(name, digest, this.#options);
    const state = await copyAtRest({
      disk: overlays.pathOf(name, digest),
      target: to,
      hold,
      ...(runsOnIt ? { freeze } : {}),
      ...(signal ? { signal } : {}),
    });
    // Whoever has only lost its connection may have more to write.
    return awaited && state.kind === 'unused'
      ? { kind: 'crash-consistent', reason: 'the node boots, or is not connected again yet' }
      : state;
  }

  /** The same, with its journal replayed. @throws UserError failed (it is damaged) */
  async takeChecked(name: NodeName, digest: ImageDigest, to: string, signal: AbortSignal): Promise<CopiedState> {
    const state = await this.take(name, digest, to, signal);
    await checkCopy(name, to, signal);
    return state;
  }
}
