/** Keeps nodes that run current: what is live among their content reaches them by way of their agents. */
import { randomBytes } from 'node:crypto';
import type { BootSession } from '../domain/boot-session.ts';
import type { Clock } from '../domain/clock.ts';
import { messageOf, UserError } from '../domain/errors.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { Node, NodeName } from '../domain/node.ts';
import type { Logger } from '../log/logger.ts';
import { type ContentChange, type ContentPart, compareContent } from '../policy/node-content.ts';
import { accountsText } from '../policy/stage-files.ts';
import type { RefreshFaceOptions } from '../servers/http/refresh-face.ts';
import type { NodeStore } from '../store/nodes.ts';
import type { AgentOrders } from './agent-orders.ts';
import type { BootSessions } from './boot-sessions.ts';
import type { NodeContents } from './fleet/node-contents.ts';
import { packRefresh } from './seed.ts';

/** Several changes in one go are one refresh. */
const settleMs = 300;
/** Addresses change without anybody telling us. */
const lookEveryMs = 10_000;
const answerMs = 60_000;
const retryMs = 15_000;
/** An agent that was told and said nothing, or could not do it, time and again. */
const retryFailedMs = 300_000;
const quickRetries = 3;

export interface LiveRefreshOptions {
  readonly nodes: NodeStore;
  readonly sessions: BootSessions;
  readonly contents: NodeContents;
  readonly agents: Pick<AgentOrders, 'give' | 'listens'>;
  readonly addressOf: (node: Node) => Ipv4 | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Order {
  readonly node: NodeName;
  readonly session: string;
  /** What the node has fetched. */
  parts: readonly ContentPart[];
  readonly answer: PromiseWithResolvers<string>;
}

export class LiveRefresh implements RefreshFaceOptions, Disposable {
  readonly #options: LiveRefreshOptions;
  // BOUNDED: each at most one per registered node.
  readonly #orders = new Map<string, Order>();
  readonly #busy = new Set<NodeName>();
  readonly #notBefore = new Map<NodeName, number>();
  readonly #failures = new Map<NodeName, number>();
  #seen = '';
  #cancelLook: (() => void) | undefined;
  #cancelTick: () => void = () => {};

  constructor(options: LiveRefreshOptions) {
    this.#options = options;
  }

  start(): void {
    this.#cancelTick = this.#options.clock.after(lookEveryMs, () => {
      if (this.#fingerprint() !== this.#seen || this.#notBefore.size > 0) {
        this.#look();
      }
      this.start();
    });
  }

  [Symbol.dispose](): void {
    this.#cancelTick();
    this.#cancelLook?.();
  }

  /** What nodes are given may have changed. */
  readonly changed = (): void => {
    this.#notBefore.clear();
    this.#cancelLook ??= this.#options.clock.after(settleMs, () => this.#look());
  };

  /** What an order is about, for the agent that got it. @throws UserError not-found */
  readonly archive = async (key: string, peer: Ipv4, id: string): Promise<Buffer> => {
    const { nodes, contents } = this.#options;
    const order = this.#require(key, peer, id);
    const node = nodes.require(order.node);
    const fleet = nodes.list();
    order.parts = contents.settledParts(node, fleet);
    return await packRefresh({ files: contents.of(node, fleet).files, accounts: accountsText(node.settings) });
  };

  readonly refreshed = (key: string, peer: Ipv4, id: string, how: string): void => {
    this.#require(key, peer, id).answer.resolve(how);
  };

  /** Changes that spread by themselves: who runs, and where. */
  #fingerprint(): string {
    const { nodes, sessions, addressOf } = this.#options;
    return nodes
      .list()
      .map((node) => `${node.name} ${addressOf(node)} ${sessions.of(node.name)?.id} ${sessions.of(node.name)?.outcome}`)
      .join('\n');
  }

  #look(): void {
    this.#cancelLook?.();
    this.#cancelLook = undefined;
    this.#seen = this.#fingerprint();
    const { nodes, sessions, agents, clock, log } = this.#options;
    for (const { name } of nodes.list().filter((node) => sessions.of(node.name)?.outcome === 'ready')) {
      if (this.#busy.has(name) || (this.#notBefore.get(name) ?? 0) > clock.now()) {
        continue;
      }
      this.#notBefore.delete(name);
      if (!agents.listens(name)) {
        // Switched off, maybe for good: looked at again, and nothing rendered for it.
        this.#notBefore.set(name, clock.now() + retryMs);
        continue;
      }
      if (this.#changesOf(name).length > 0) {
        this.#busy.add(name);
        this.#refresh(name)
          .catch((error: unknown) => log.error({ node: name, reason: messageOf(error) }, 'a node could not be refreshed'))
          .finally(() => this.#busy.delete(name));
      }
    }
  }

  #changesOf(name: NodeName, parts?: readonly ContentPart[]): ContentChange[] {
    const { nodes, sessions, contents } = this.#options;
    const node = nodes.get(name);
    const session = sessions.of(name);
    if (!node || session?.outcome !== 'ready' || !session.content) {
      return [];
    }
    return compareContent(session.content, parts ?? contents.settledParts(node, nodes.list())).filter(({ live }) => live);
  }

  async #refresh(name: NodeName): Promise<void> {
    const { sessions, agents, clock, log } = this.#options;
    const id = randomBytes(12).toString('hex');
    const order: Order = { node: name, session: sessions.of(name)?.id ?? '', parts: [], answer: Promise.withResolvers() };
    this.#orders.set(id, order);
    try {
      if (!(await agents.give(name, `refresh ${id}\n`))) {
        this.#notBefore.set(name, clock.now() + retryMs);
        return;
      }
      const cancel = clock.after(answerMs, () => order.answer.resolve('the agent did not answer'));
      const how = await order.answer.promise.finally(cancel);
      const [outcome = '', ...said] = how.split('\n');
      if (outcome === 'applied') {
        this.#failures.delete(name);
        this.#remember(order, said);
        return;
      }
      const failures = (this.#failures.get(name) ?? 0) + 1;
      this.#failures.set(name, failures);
      this.#notBefore.set(name, clock.now() + (failures <= quickRetries ? retryMs : retryFailedMs));
      sessions.record(name, 'ready', 'refresh failed', how.slice(0, 500));
      log.warn({ node: name, reason: how }, 'a node could not be refreshed');
    } finally {
      this.#orders.delete(id);
    }
  }

  /** The node has what it fetched: that much of what it was given is new. */
  #remember({ node, session: id, parts }: Order, said: readonly string[]): void {
    const { sessions, log } = this.#options;
    const session: BootSession | undefined = sessions.of(node);
    if (session?.id !== id) {
      return;
    }
    const changes = this.#changesOf(node, parts);
    const values = new Map(parts.map(({ what, value }) => [what, value]));
    const content = new Map(Object.entries(session.content ?? {}));
    for (const { what } of changes) {
      const value = values.get(what);
      if (value === undefined) {
        content.delete(what);
      } else {
        content.set(what, value);
      }
    }
    sessions.record(node, 'ready', 'refreshed', changes.map(({ what }) => what).join(', '));
    for (const line of said.filter((one) => one !== '')) {
      sessions.record(node, 'ready', 'setting left out', line);
    }
    sessions.change(node, { content: Object.fromEntries(content) });
    log.info({ node, changed: changes.map(({ what }) => what) }, 'node refreshed');
    // What changed while it was at it.
    if (this.#changesOf(node).length > 0) {
      this.changed();
    }
  }

  #require(key: string, peer: Ipv4, id: string): Order {
    const session = this.#options.sessions.byAgentKey(key);
    const order = this.#orders.get(id);
    if (!session || session.address !== peer) {
      throw new UserError('not-permitted', 'This key is not of a boot of yours');
    }
    if (order?.node !== session.node || order.session !== session.id) {
      throw new UserError('not-found', 'There is no such order');
    }
    return order;
  }
}
