/** From our initramfs to the node's own system: plan, disks, seed, and the news of both sides. */
import { randomBytes } from 'node:crypto';
import type { BootSession } from '../domain/boot-session.ts';
import type { Clock } from '../domain/clock.ts';
import { UserError } from '../domain/errors.ts';
import type { Image } from '../domain/image.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { Node, NodeName } from '../domain/node.ts';
import type { ImageCatalog } from '../images/catalog.ts';
import type { Logger } from '../log/logger.ts';
import type { OverlayDisks } from '../overlays/overlay-disks.ts';
import { renderPlan } from '../policy/boot-plan.ts';
import type { LeaseStore } from '../store/leases.ts';
import type { NodeStore } from '../store/nodes.ts';
import { type BootSessions, handoverEvent } from './boot-sessions.ts';
import type { Exports } from './exports.ts';
import type { HostKeys } from './identity.ts';
import { renderSeed } from './seed.ts';

export interface NodeHandoverOptions {
  readonly nodes: NodeStore;
  readonly leases: LeaseStore;
  readonly sessions: BootSessions;
  readonly images: ImageCatalog;
  readonly overlays: OverlayDisks;
  readonly exports: Exports;
  /** Ends all connections to the disks in a directory. */
  readonly fenceDisks: (directory: string) => Promise<void>;
  readonly hostKeys: HostKeys;
  readonly authorizedKeys: readonly string[];
  readonly httpPort: number;
  readonly nbdPort: number;
  readonly clock: Clock;
  readonly log: Logger;
}

export class NodeHandover {
  readonly #options: NodeHandoverOptions;
  /** A node that asks again while its disk is being made gets that disk: made twice, what it wrote first would be lost. */
  readonly #turns = new Map<NodeName, Promise<unknown>>();

  constructor(options: NodeHandoverOptions) {
    this.#options = options;
  }

  /** Binds the session to the address that asks, and gives that address its disks. */
  async plan(token: string, peer: Ipv4): Promise<string> {
    const name = this.#options.sessions.underWay(token, peer).node;
    const turn = (this.#turns.get(name) ?? Promise.resolve()).catch(() => {}).then(() => this.#planNow(token, peer));
    this.#turns.set(name, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(name) === turn) {
        this.#turns.delete(name);
      }
    }
  }

  async #planNow(token: string, peer: Ipv4): Promise<string> {
    const { sessions, images, nodes, exports, overlays, clock, nbdPort } = this.#options;
    const session = sessions.underWay(token, peer);
    const image = await images.require(session.digest);
    const node = nodes.require(session.node);
    // Connections of its last boot, which nbd-server would keep until TCP gives up on them.
    await this.#options.fenceDisks(overlays.directoryOf(node.name));
    const persistent = node.overlay === 'persistent';
    if (persistent) {
      await this.#prepareOverlay(node.name, image);
    } else if (node.reimage) {
      nodes.update(node.name, { reimage: false });
    }
    await exports.place(peer, {
      overlayDirectory: overlays.directoryOf(node.name),
      root: images.pathOf(image.digest, 'root.img'),
      ...(persistent ? { overlay: overlays.pathOf(node.name, image.digest) } : {}),
    });
    sessions.change(node.name, { address: peer });
    sessions.record(node.name, 'initramfs', 'plan', `${peer}, ${node.overlay} overlay`);
    const time = clock.now() / 1000;
    return renderPlan({ node: node.name, time, nbdPort, digest: image.digest, rootFormat: image.rootFormat, overlay: node.overlay });
  }

  /** The wish to reimage ends when the new disk is in its place; a crash in between makes it once more. */
  async #prepareOverlay(name: NodeName, image: Image): Promise<void> {
    const { overlays, nodes, sessions } = this.#options;
    const { reimage } = nodes.require(name);
    if (reimage || !(await overlays.exists(name, image.digest))) {
      await overlays.reset(name, image.digest);
      sessions.record(name, 'initramfs', 'overlay made', image.digest.slice(0, 12));
    }
    if (reimage) {
      nodes.update(name, { reimage: false });
    }
  }

  async seed(token: string, peer: Ipv4, server: Ipv4): Promise<Buffer> {
    const { hostKeys, authorizedKeys, httpPort, sessions, nodes } = this.#options;
    const session = sessions.underWay(token, peer);
    const node = nodes.require(session.node);
    const agentKey = session.agentKey ?? randomBytes(24).toString('base64url');
    const hostKey = await hostKeys.of(node.name);
    const seed = await renderSeed({ node, hostKey, authorizedKeys, agentKey, server, httpPort, hosts: this.#hosts() });
    sessions.change(node.name, { agentKey });
    sessions.record(node.name, 'root', 'seed', `${seed.length} bytes`);
    return seed;
  }

  #hosts(): { name: NodeName; address: Ipv4 }[] {
    return this.#options.nodes.list().flatMap((node) => {
      const address = this.addressOf(node);
      return address === undefined ? [] : [{ name: node.name, address }];
    });
  }

  /** Where a node is or will be found. */
  addressOf(node: Node): Ipv4 | undefined {
    return this.#options.sessions.of(node.name)?.address ?? node.address ?? this.#options.leases.addressesOf(node.name)[0];
  }

  event(token: string, peer: Ipv4, name: string, detail: string): void {
    const { sessions } = this.#options;
    const session = sessions.underWay(token, peer);
    const printable = detail.replaceAll(/[^\x20-\x7e]/g, ' ').slice(0, 500);
    switch (name) {
      case 'network':
        sessions.record(session.node, 'initramfs', 'initramfs has an address', printable);
        return;
      case 'root':
        sessions.record(session.node, 'root', 'root mounted', printable);
        return;
      case handoverEvent:
        sessions.record(session.node, 'root', handoverEvent, printable);
        return;
      case 'failed':
        this.#fail(session, printable);
        return;
      default:
        throw new UserError('not-found', `There is no event "${name.slice(0, 40)}"`);
    }
  }

  #fail(session: BootSession, reason: string): void {
    const { sessions, log } = this.#options;
    sessions.record(session.node, session.stage, 'failed', reason);
    sessions.change(session.node, { outcome: 'failed', failure: reason });
    log.warn({ node: session.node, reason }, 'boot failed');
  }

  ready(key: string, peer: Ipv4): void {
    const { sessions, clock, log } = this.#options;
    const session = sessions.byAgentKey(key);
    if (!session || session.address !== peer) {
      throw new UserError('not-permitted', 'This key is not of a boot of yours');
    }
    if (session.outcome === 'ready') {
      return;
    }
    sessions.record(session.node, 'ready', 'ready');
    sessions.change(session.node, { outcome: 'ready' });
    log.info({ node: session.node, address: peer, seconds: (clock.now() - session.startedAt) / 1000 }, 'node ready');
  }
}
