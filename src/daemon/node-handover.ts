/** From our initramfs to the node's own system: plan, disks, seed, and the news of both sides. */
import { randomBytes } from 'node:crypto';
import type { BootSession } from '../domain/boot-session.ts';
import type { Clock } from '../domain/clock.ts';
import { UserError } from '../domain/errors.ts';
import { readHardware } from '../domain/hardware.ts';
import type { Image } from '../domain/image.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { NodeName } from '../domain/node.ts';
import type { ImageCatalog } from '../images/catalog.ts';
import type { Logger } from '../log/logger.ts';
import { renderPlan, renderRefusal } from '../policy/boot-plan.ts';
import { accountsText } from '../policy/stage-files.ts';
import type { LeaseStore } from '../store/leases.ts';
import type { NodeStore } from '../store/nodes.ts';
import { type BootSessions, handoverEvent } from './boot-sessions.ts';
import type { Exports, NodeDisks } from './exports.ts';
import type { NodeContents } from './fleet/node-contents.ts';
import type { HostKeys } from './identity.ts';
import type { NodeDisksMaker, OnDiskNews } from './node-disks.ts';
import type { NodeSecrets } from './secrets.ts';
import { packSeed } from './seed.ts';
import type { SshCa } from './ssh-ca.ts';

/** As in the agent. */
const nearlyFullPercent = 90;

export interface NodeHandoverOptions {
  readonly nodes: NodeStore;
  readonly leases: LeaseStore;
  readonly sessions: BootSessions;
  readonly images: ImageCatalog;
  readonly disks: NodeDisksMaker;
  readonly exports: Exports;
  readonly hostKeys: HostKeys;
  readonly sshCa: SshCa;
  readonly domain: string;
  readonly secrets: NodeSecrets;
  readonly contents: NodeContents;
  readonly httpPort: number;
  readonly nbdPort: number;
  readonly ephemeralPercent: number;
  readonly clock: Clock;
  readonly log: Logger;
}

export class NodeHandover {
  readonly #options: NodeHandoverOptions;

  // BOUNDED: one per registered node.
  readonly #prepared = new Map<NodeName, { readonly session: string; readonly disks: Promise<NodeDisks> }>();

  constructor(options: NodeHandoverOptions) {
    this.#options = options;
  }

  /**
   * Binds the session to the address that asks, and gives that address its disks. A node that asks again while they are
   * being made waits for them: made twice, what it wrote first would be lost.
   */
  async plan(token: string, peer: Ipv4): Promise<string> {
    const { sessions, images, exports, disks, clock, nbdPort, ephemeralPercent } = this.#options;
    const { node: name, digest, id } = sessions.underWay(token, peer);
    const image = await images.require(digest);
    const time = clock.now() / 1000;
    let prepared: NodeDisks;
    try {
      prepared = await this.#disksOf(name, id, image);
    } catch (error) {
      if (!(error instanceof UserError)) {
        throw error;
      }
      // The node says it on its console and reports it back, which ends this boot.
      const reason = error.hint === undefined ? error.message : `${error.message}. ${error.hint}`;
      return renderRefusal({ node: name, time, reason: reason.replaceAll('\n', ' ').slice(0, 400) });
    }
    // The node may have started over meanwhile, or been removed.
    sessions.underWay(token, peer);
    await disks.inTurn(name, () => exports.place(peer, prepared));
    sessions.bind(name, peer);
    const dataVolume = prepared.data !== undefined;
    const overlay = prepared.overlay === undefined ? 'ephemeral' : 'persistent';
    sessions.record(name, 'initramfs', 'plan', `${peer}, ${overlay} overlay${dataVolume ? ', data volume' : ''}`);
    const { rootFormat } = image;
    return renderPlan({ node: name, time, nbdPort, digest, rootFormat, overlay, ephemeralPercent, dataVolume });
  }

  /**
   * Once for each boot. A request that is repeated may be answered after the node has its plan from another one, and then a
   * disk that it has mounted already would be cut off and checked.
   */
  async #disksOf(node: NodeName, session: string, image: Image): Promise<NodeDisks> {
    const { disks, nodes, sessions } = this.#options;
    const known = this.#prepared.get(node);
    if (known?.session === session) {
      return await known.disks;
    }
    const news: OnDiskNews = (what, detail) => sessions.record(node, 'initramfs', what, detail);
    const making = disks.inTurn(node, () => disks.prepare(nodes.require(node), image, news));
    this.#prepared.set(node, { session, disks: making });
    making.catch((error: unknown) => {
      if (!(error instanceof UserError)) {
        this.#prepared.delete(node);
      }
    });
    return await making;
  }

  async seed(token: string, peer: Ipv4, server: Ipv4): Promise<Buffer> {
    const { hostKeys, sshCa, domain, secrets, contents, httpPort, sessions, nodes, log } = this.#options;
    const session = sessions.underWay(token, peer);
    const node = nodes.require(session.node);
    const agentKey = session.agentKey ?? randomBytes(24).toString('base64url');
    const identity = await hostKeys.of(node);
    // Before the content is told, which says as which draw they were given.
    const secretFiles = await secrets.filesFor(node);
    const { files, problems } = contents.of(node, nodes.list());
    // What it boots, whatever its reference stands for by now.
    const [parts = []] = await contents.partsOf([node], nodes.list(), [[session.digest]]);
    const accounts = accountsText(node.settings);
    const hostCertificate = await sshCa.signHost(identity.publicKey, [node.name, `${node.name}.${domain}`, peer]);
    const seed = await packSeed({ files: [...files, ...secretFiles], accounts, identity, hostCertificate, agentKey, server, httpPort });
    sessions.change(node.name, { agentKey, content: Object.fromEntries(parts.map(({ what, value }) => [what, value])) });
    sessions.record(node.name, 'root', 'seed', `${seed.length} bytes`);
    for (const { message } of problems) {
      // Refused when it was written: since then something that the template asks for has changed.
      sessions.record(node.name, 'root', 'setting left out', message);
      log.warn({ node: node.name, reason: message }, 'a setting cannot be given to a node');
    }
    return seed;
  }

  event(token: string, peer: Ipv4, name: string, detail: string): void {
    const { sessions, log } = this.#options;
    const session = sessions.underWay(token, peer);
    const printable = detail.replaceAll(/[^\x20-\x7e]/g, ' ').slice(0, 500);
    switch (name) {
      case 'network':
        sessions.record(session.node, 'initramfs', 'initramfs has an address', printable);
        return;
      case 'root':
        sessions.record(session.node, 'root', 'root mounted', printable);
        return;
      case 'data':
        sessions.record(session.node, 'root', 'data volume mounted', printable);
        return;
      case 'setting':
        sessions.record(session.node, 'root', 'setting left out', printable);
        log.warn({ node: session.node, reason: printable }, 'a setting cannot be given to a node');
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

  #sessionOf(key: string, peer: Ipv4): BootSession {
    const session = this.#options.sessions.byAgentKey(key);
    if (!session || session.address !== peer) {
      throw new UserError('not-permitted', 'This key is not of a boot of yours');
    }
    return session;
  }

  /** The agent says so when a disk of a node that runs is nearly full, and when it no longer is. */
  space(key: string, peer: Ipv4, what: string, percent: number): void {
    const { sessions, log } = this.#options;
    const { node } = this.#sessionOf(key, peer);
    if (what !== 'overlay' && what !== 'data') {
      throw new UserError('not-found', `There is no disk "${what.slice(0, 40)}"`);
    }
    const isFull = percent >= nearlyFullPercent;
    const name = what === 'overlay' ? 'overlay' : 'data volume';
    sessions.record(node, 'ready', isFull ? `${name} nearly full` : `${name} has space again`, `${percent} %`);
    log[isFull ? 'warn' : 'info'](
      { node, disk: what, percent },
      isFull ? 'a disk of a node is nearly full' : 'a disk of a node has space again',
    );
  }

  /** A script of the operator has ended on the node. */
  hook(key: string, peer: Ipv4, kind: string, name: string, code: number): void {
    const { sessions, log } = this.#options;
    const { node } = this.#sessionOf(key, peer);
    if (!/^(firstBoot|everyBoot)$/.test(kind) || !/^[a-z0-9_-]{1,63}$/.test(name)) {
      throw new UserError('not-found', 'There is no such hook');
    }
    // 143 is SIGTERM, which it gets when it does not end by itself.
    const why = code === 143 ? ' (ended after 15 minutes)' : '';
    const detail = `${kind} ${name}${code === 0 ? '' : `: exit code ${code}${why}`}`;
    sessions.record(node, 'root', code === 0 ? 'hook done' : 'hook failed', detail);
    if (code !== 0) {
      log.warn({ node, hook: name, kind, code }, 'a hook of a node failed');
    }
  }

  /** @param said what the agent tells about the node's hardware */
  ready(key: string, peer: Ipv4, said = ''): void {
    const { sessions, clock, log } = this.#options;
    const session = this.#sessionOf(key, peer);
    if (session.outcome === 'ready') {
      return;
    }
    sessions.record(session.node, 'ready', 'ready');
    const hardware = readHardware(said);
    sessions.change(session.node, { outcome: 'ready', ...(hardware ? { hardware } : {}) });
    log.info({ node: session.node, address: peer, seconds: (clock.now() - session.startedAt) / 1000 }, 'node ready');
  }
}
