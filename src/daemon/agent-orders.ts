/** What the server asks of running nodes, by way of their agents. */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../domain/clock.ts';
import { UserError } from '../domain/errors.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { NodeName } from '../domain/node.ts';
import type { AgentFaceOptions } from '../servers/http/agent-face.ts';
import type { BootSessions } from './boot-sessions.ts';

/** Shorter than the agent's own patience, and than what routers forget idle connections after. */
const pollMs = 45_000;
/** Between two questions of an agent. It waits for five seconds after one that failed. */
const pollGapMs = 8000;
/** Freezing writes out all that the node has in memory. */
const freezeAnswerMs = 60_000;
const thawAnswerMs = 15_000;
/** To an order that is taken at once. */
const answerMs = 15_000;
/** The node lets go by itself after this long, whatever becomes of us. */
const maxFrozenSeconds = 60;

/** An agent asks again within this time, unless its node is away. */
const busyMs = 90_000;

interface Freeze {
  readonly node: NodeName;
  readonly frozen: PromiseWithResolvers<AbortSignal>;
  readonly goOn: PromiseWithResolvers<void>;
  readonly thawed: PromiseWithResolvers<string>;
}

/** Orders that an agent takes, or says why it cannot. */
export type PlainOrder =
  | { readonly verb: 'reboot' | 'poweroff' }
  | {
      readonly verb: 'blink';
      /** Of its activity light. */
      readonly seconds: number;
    };

const timeout = Symbol('timeout');

export class AgentOrders implements AgentFaceOptions {
  readonly #sessions: BootSessions;
  readonly #clock: Clock;
  // BOUNDED: one per registered node.
  readonly #polls = new Map<NodeName, (order: string) => void>();
  // BOUNDED: one per registered node.
  readonly #heardAt = new Map<NodeName, number>();
  // BOUNDED: one per node, whose turn it is to be copied.
  readonly #freezes = new Map<string, Freeze>();
  // BOUNDED: one per order that is being given.
  readonly #answers = new Map<string, { readonly node: NodeName; readonly answer: (how: string) => void }>();

  constructor(sessions: BootSessions, clock: Clock) {
    this.#sessions = sessions;
    this.#clock = clock;
  }

  readonly order = async (key: string, peer: Ipv4): Promise<string> => {
    const node = this.#nodeOf(key, peer);
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#heardAt.set(node, this.#clock.now());
    // An agent that asks again has given up its earlier question.
    this.#polls.get(node)?.('');
    this.#polls.set(node, resolve);
    const cancel = this.#clock.after(pollMs, () => resolve(''));
    try {
      return await promise;
    } finally {
      cancel();
      this.#heardAt.set(node, this.#clock.now());
      if (this.#polls.get(node) === resolve) {
        this.#polls.delete(node);
      }
    }
  };

  readonly frozen = async (key: string, peer: Ipv4, id: string, gone: AbortSignal): Promise<void> => {
    const freeze = this.#require(key, peer, id);
    freeze.frozen.resolve(gone);
    await freeze.goOn.promise;
  };

  readonly thawed = (key: string, peer: Ipv4, id: string, how: string): void => {
    this.#require(key, peer, id).thawed.resolve(how);
  };

  readonly answered = (key: string, peer: Ipv4, id: string, how: string): void => {
    const node = this.#nodeOf(key, peer);
    const order = this.#answers.get(id);
    if (order?.node !== node) {
      throw new UserError('not-found', 'There is no such order');
    }
    order.answer(how);
  };

  /** Answers with the reason when the order was not taken. */
  async tell(node: NodeName, order: PlainOrder): Promise<{ taken: true } | { reason: string }> {
    const id = randomBytes(12).toString('hex');
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#answers.set(id, { node, answer: resolve });
    try {
      if (!(await this.give(node, `${order.verb} ${id} ${'seconds' in order ? order.seconds : 0}\n`))) {
        return { reason: 'no agent of the node listens' };
      }
      const how = await this.#within(answerMs, promise);
      return how === 'taken' ? { taken: true } : { reason: how === timeout ? 'the agent did not answer' : `the agent could not: ${how}` };
    } finally {
      this.#answers.delete(id);
    }
  }

  /**
   * Runs `work` while the node's disk is held still. Answers with the reason when it was not, from the first to the last
   * moment; `work` may have run all the same. Once `signal` fires, nobody waits for the agent any more.
   */
  async whileFrozen(node: NodeName, work: () => Promise<void>, signal?: AbortSignal): Promise<{ frozenMs: number } | { reason: string }> {
    signal?.throwIfAborted();
    const id = randomBytes(12).toString('hex');
    const freeze: Freeze = {
      node,
      frozen: Promise.withResolvers(),
      goOn: Promise.withResolvers(),
      thawed: Promise.withResolvers(),
    };
    this.#freezes.set(id, freeze);
    const onAbort = (): void => freeze.thawed.resolve('it was cancelled');
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      if (!(await this.give(node, `freeze ${id} ${maxFrozenSeconds}\n`))) {
        return { reason: 'no agent of the node listens' };
      }
      const gone = await this.#within(freezeAnswerMs, Promise.race([freeze.frozen.promise, freeze.thawed.promise]));
      if (gone === timeout || typeof gone === 'string') {
        return { reason: gone === timeout ? 'the agent did not answer' : `the agent could not hold the disk: ${gone}` };
      }
      const since = this.#clock.now();
      await work();
      const heldToTheEnd = !gone.aborted;
      const frozenMs = this.#clock.now() - since;
      freeze.goOn.resolve();
      const how = await this.#within(thawAnswerMs, freeze.thawed.promise);
      return heldToTheEnd && how === 'told' ? { frozenMs } : { reason: 'the node went on before the copy was complete' };
    } finally {
      signal?.removeEventListener('abort', onAbort);
      // Whatever happened: the node is not kept waiting.
      freeze.goOn.resolve();
      this.#freezes.delete(id);
    }
  }

  /** Whether an order would be heard: an agent waits for one, or is busy with one. */
  listens(node: NodeName): boolean {
    return this.#polls.has(node) || this.#clock.now() - (this.#heardAt.get(node) ?? Number.NEGATIVE_INFINITY) < busyMs;
  }

  /** False when no agent asked in time. */
  async give(node: NodeName, order: string): Promise<boolean> {
    const end = this.#clock.now() + pollGapMs;
    for (;;) {
      const poll = this.#polls.get(node);
      if (poll) {
        this.#polls.delete(node);
        poll(order);
        return true;
      }
      if (this.#clock.now() >= end) {
        return false;
      }
      await new Promise<void>((resolve) => this.#clock.after(200, resolve));
    }
  }

  async #within<T>(ms: number, promise: Promise<T>): Promise<T | typeof timeout> {
    const { promise: late, resolve } = Promise.withResolvers<typeof timeout>();
    const cancel = this.#clock.after(ms, () => resolve(timeout));
    try {
      return await Promise.race([promise, late]);
    } finally {
      cancel();
    }
  }

  #require(key: string, peer: Ipv4, id: string): Freeze {
    const node = this.#nodeOf(key, peer);
    const freeze = this.#freezes.get(id);
    if (freeze?.node !== node) {
      throw new UserError('not-found', 'There is no such order');
    }
    return freeze;
  }

  #nodeOf(key: string, peer: Ipv4): NodeName {
    const session = this.#sessions.byAgentKey(key);
    if (!session || session.address !== peer) {
      throw new UserError('not-permitted', 'This key is not of a boot of yours');
    }
    return session.node;
  }
}
