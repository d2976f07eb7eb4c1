/** The boots under way: one session per node, its timeline, and its record on disk. */
import { randomBytes } from 'node:crypto';
import type { BootEvent, BootSession, BootStage } from '../domain/boot-session.ts';
import type { Clock } from '../domain/clock.ts';
import { messageOf, UserError } from '../domain/errors.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { NodeName } from '../domain/node.ts';
import type { Logger } from '../log/logger.ts';
import { laterStage } from '../policy/boot-progress.ts';
import type { SessionStore } from '../store/sessions.ts';

const saveAfterMs = 500;
const maxEvents = 500;

/** The last thing that the initramfs says. */
export const handoverEvent = 'handover';

export type NewSession = Pick<BootSession, 'node' | 'arch' | 'client' | 'digest'> & Partial<Pick<BootSession, 'mac'>>;

export class BootSessions {
  readonly #store: SessionStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  // BOUNDED: one per registered node.
  readonly #current = new Map<NodeName, BootSession>();
  readonly #unsaved = new Map<NodeName, () => void>();

  constructor(store: SessionStore, clock: Clock, log: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    for (const session of store.latest()) {
      this.#current.set(session.node, session);
    }
  }

  of(node: NodeName): BootSession | undefined {
    return this.#current.get(node);
  }

  /**
   * The boot under way that a token belongs to. The token ends when the node's own system takes over: from then on it
   * stands in /proc/cmdline, where every user of the node can read it.
   * @param peer who shows the token, where that must be the address that fetched the plan
   * @throws UserError not-permitted
   */
  underWay(token: string, peer?: Ipv4): BootSession {
    const session = [...this.#current.values()].find((candidate) => candidate.token === token);
    const isValid = session?.outcome === 'running' && !session.events.some((event) => event.what === handoverEvent);
    if (!isValid || (peer !== undefined && session.address !== undefined && session.address !== peer)) {
      throw new UserError('not-permitted', 'This token is not of a boot of yours');
    }
    return session;
  }

  byAgentKey(key: string): BootSession | undefined {
    return [...this.#current.values()].find((session) => session.agentKey === key);
  }

  /** On disk when this returns. An earlier boot that never got ready is closed. */
  open(facts: NewSession): BootSession {
    const before = this.#current.get(facts.node);
    if (before?.outcome === 'running') {
      this.#save({ ...before, outcome: 'replaced' });
    }
    const session: BootSession = {
      ...facts,
      id: randomBytes(8).toString('hex'),
      token: randomBytes(24).toString('base64url'),
      startedAt: this.#clock.now(),
      stage: 'dhcp',
      outcome: 'running',
      events: [],
    };
    this.#save(session);
    this.#log.info({ node: session.node, client: session.client, digest: session.digest.slice(0, 12) }, 'boot started');
    return session;
  }

  /** Adds to the timeline; written to disk a moment later, because what it tells can be lost. */
  record(node: NodeName, stage: BootStage, what: string, detail?: string): void {
    const session = this.#current.get(node);
    if (!session || session.events.length >= maxEvents) {
      return;
    }
    const event: BootEvent = { at: this.#clock.now(), stage, what, ...(detail === undefined || detail === '' ? {} : { detail }) };
    this.#current.set(node, { ...session, stage: laterStage(session.stage, stage), events: [...session.events, event] });
    if (!this.#unsaved.has(node)) {
      this.#unsaved.set(
        node,
        this.#clock.after(saveAfterMs, () => this.#flush(node)),
      );
    }
  }

  /** A change that the rest of the boot relies on: on disk when this returns. */
  change(node: NodeName, change: Partial<Pick<BootSession, 'address' | 'agentKey' | 'outcome' | 'failure'>>): BootSession | undefined {
    const session = this.#current.get(node);
    if (!session) {
      return undefined;
    }
    const next = { ...session, ...change };
    this.#save(next);
    return next;
  }

  forget(node: NodeName): void {
    this.#unsaved.get(node)?.();
    this.#unsaved.delete(node);
    this.#current.delete(node);
  }

  close(): void {
    for (const node of [...this.#unsaved.keys()]) {
      this.#flush(node);
    }
  }

  #flush(node: NodeName): void {
    const session = this.#current.get(node);
    try {
      if (session) {
        this.#save(session);
      }
    } catch (error) {
      this.#log.error({ node, reason: messageOf(error) }, 'timeline could not be written');
    }
  }

  #save(session: BootSession): void {
    this.#unsaved.get(session.node)?.();
    this.#unsaved.delete(session.node);
    this.#store.save(session);
    this.#current.set(session.node, session);
  }
}
