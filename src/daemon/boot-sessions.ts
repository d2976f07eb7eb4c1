/** The boots under way: one session per node, its timeline, and its record on disk. */
import { randomBytes } from 'node:crypto';
import { type BootEvent, type BootSession, type BootStage, consoleEvent } from '../domain/boot-session.ts';
import type { Clock } from '../domain/clock.ts';
import { messageOf, UserError } from '../domain/errors.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { NodeName } from '../domain/node.ts';
import type { Logger } from '../log/logger.ts';
import { isUnderWay, laterStage, withConsoleLine } from '../policy/boot-progress.ts';
import type { SessionStore } from '../store/sessions.ts';

const saveAfterMs = 500;
const maxEvents = 500;
/** A board that is switched on tells its first lines before it asks for anything. */
const maxWaitingLines = 100;
const waitingMs = 120_000;

/** The last thing that the initramfs says. */
export const handoverEvent = 'handover';

export type NewSession = Pick<BootSession, 'node' | 'arch' | 'client' | 'digest'> & Partial<Pick<BootSession, 'mac' | 'configuration'>>;

export class BootSessions {
  readonly #store: SessionStore;
  readonly #clock: Clock;
  readonly #log: Logger;
  // BOUNDED: one per registered node.
  readonly #current = new Map<NodeName, BootSession>();
  readonly #unsaved = new Map<NodeName, () => void>();
  // BOUNDED: one entry per registered node, of maxWaitingLines.
  readonly #waitingLines = new Map<NodeName, readonly BootEvent[]>();

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
    const isValid =
      session !== undefined && isUnderWay(session, this.#clock.now()) && !session.events.some((event) => event.what === handoverEvent);
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
      // Until the node tells it anew.
      ...(before?.hardware ? { hardware: before.hardware } : {}),
      id: randomBytes(8).toString('hex'),
      token: randomBytes(24).toString('base64url'),
      startedAt: this.#clock.now(),
      stage: 'dhcp',
      outcome: 'running',
      events: (this.#waitingLines.get(facts.node) ?? []).filter(({ at }) => at > this.#clock.now() - waitingMs),
    };
    this.#waitingLines.delete(facts.node);
    this.#save(session);
    this.#log.info({ node: session.node, client: session.client, digest: session.digest.slice(0, 12) }, 'boot started');
    return session;
  }

  /** Adds to the timeline; written to disk a moment later, because what it tells can be lost. */
  record(node: NodeName, stage: BootStage, what: string, detail?: string): void {
    const session = this.#current.get(node);
    if (!session || session.events.filter((event) => event.what !== consoleEvent).length >= maxEvents) {
      return;
    }
    const event: BootEvent = { at: this.#clock.now(), stage, what, ...(detail === undefined || detail === '' ? {} : { detail }) };
    this.#update({ ...session, stage: laterStage(session.stage, stage), events: [...session.events, event] });
  }

  /**
   * A line of the boot loader's log goes into the boot that is in firmware. When there is none, the board has just been
   * switched on: the line waits for the boot that it is of.
   */
  recordConsole(node: NodeName, line: string): void {
    const session = this.#current.get(node);
    const isInFirmware = session?.outcome === 'running' && session.address === undefined;
    // A token in a log would be one that every user of the server's listings can read.
    const detail = session === undefined ? line : line.replaceAll(session.token, '...');
    const event: BootEvent = { at: this.#clock.now(), stage: isInFirmware ? session.stage : 'dhcp', what: consoleEvent, detail };
    if (isInFirmware) {
      this.#update({ ...session, events: withConsoleLine(session.events, event) });
    } else {
      this.#waitingLines.set(node, [...(this.#waitingLines.get(node) ?? []), event].slice(-maxWaitingLines));
    }
  }

  #update(session: BootSession): void {
    const { node } = session;
    this.#current.set(node, session);
    if (!this.#unsaved.has(node)) {
      this.#unsaved.set(
        node,
        this.#clock.after(saveAfterMs, () => this.#flush(node)),
      );
    }
  }

  /** A change that the rest of the boot relies on: on disk when this returns. */
  change(
    node: NodeName,
    change: Partial<Pick<BootSession, 'address' | 'agentKey' | 'outcome' | 'failure' | 'content' | 'hardware'>>,
  ): BootSession | undefined {
    const session = this.#current.get(node);
    if (!session) {
      return undefined;
    }
    const next = { ...session, ...change };
    this.#save(next);
    return next;
  }

  /** A node has been found at this address, so no other has it any longer: in proxy mode routers give it to whom they like. */
  bind(node: NodeName, address: Ipv4): void {
    for (const other of [...this.#current.values()].filter((one) => one.node !== node && one.address === address)) {
      const { address: _address, ...rest } = other;
      this.#save(rest);
    }
    this.change(node, { address });
  }

  /** The node is another board from now on: what the one before it began is over. */
  end(node: NodeName): void {
    const session = this.#current.get(node);
    if (session) {
      const { address: _address, agentKey: _agentKey, ...rest } = session;
      this.#save({ ...rest, outcome: 'replaced' });
    }
    this.#waitingLines.delete(node);
  }

  forget(node: NodeName): void {
    this.#unsaved.get(node)?.();
    this.#unsaved.delete(node);
    this.#current.delete(node);
    this.#waitingLines.delete(node);
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
