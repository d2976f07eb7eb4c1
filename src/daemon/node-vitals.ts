/** What nodes said last about how they do. It is gone when the server restarts, and heard again a few seconds later. */
import type { Clock } from '../domain/clock.ts';
import { UserError } from '../domain/errors.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { NodeName } from '../domain/node.ts';
import type { HeardVitals, Vitals } from '../domain/vitals.ts';
import type { VitalsFaceOptions } from '../servers/http/vitals-face.ts';
import type { BootSessions } from './boot-sessions.ts';

export class NodeVitals implements VitalsFaceOptions {
  readonly #sessions: Pick<BootSessions, 'of' | 'byAgentKey'>;
  readonly #clock: Clock;
  // BOUNDED: one per registered node; those of others go when a new one comes.
  readonly #last = new Map<NodeName, { readonly session: string; readonly vitals: HeardVitals }>();

  constructor(sessions: Pick<BootSessions, 'of' | 'byAgentKey'>, clock: Clock) {
    this.#sessions = sessions;
    this.#clock = clock;
  }

  readonly report = (key: string, peer: Ipv4, vitals: Vitals): void => {
    const session = this.#sessions.byAgentKey(key);
    if (!session || session.address !== peer) {
      throw new UserError('not-permitted', 'This key is not of a boot of yours');
    }
    if (!this.#last.has(session.node)) {
      for (const node of [...this.#last.keys()].filter((one) => this.#sessions.of(one) === undefined)) {
        this.#last.delete(node);
      }
    }
    this.#last.set(session.node, { session: session.id, vitals: { ...vitals, at: this.#clock.now() } });
  };

  /** Of its last boot: what an earlier one said is not about the system that runs now. */
  of(node: NodeName): HeardVitals | undefined {
    const last = this.#last.get(node);
    return last !== undefined && last.session === this.#sessions.of(node)?.id ? last.vitals : undefined;
  }
}
