/** A board's way to its kernel: which node is it, which boot does it belong to, which files does it get. */
import type { BootSession } from '../domain/boot-session.ts';
import type { Clock } from '../domain/clock.ts';
import { messageOf, UserError } from '../domain/errors.ts';
import type { Image } from '../domain/image.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import { type Mac, parseMac } from '../domain/mac.ts';
import type { Node, NodeName } from '../domain/node.ts';
import { parseSerial } from '../domain/serial.ts';
import type { ImageCatalog } from '../images/catalog.ts';
import type { Logger } from '../log/logger.ts';
import { opensSession, stageOfFile } from '../policy/boot-progress.ts';
import { architectureOf, type Client } from '../policy/classify-client.ts';
import { type BootFacts, renderCmdlineTxt, renderConfigTxt, renderIpxeBoot, renderIpxeUnknown } from '../policy/render-config.ts';
import { isExpectedMissing, readTftpPath } from '../policy/tftp-path.ts';
import type { DhcpReport } from '../servers/dhcp/dhcp-server.ts';
import type { FileAnswer, TftpReport } from '../servers/tftp/tftp-server.ts';
import type { NodeStore } from '../store/nodes.ts';
import type { BootSessions } from './boot-sessions.ts';
import { type FileSource, readFromSources } from './file-sources.ts';
import type { NodeFinder } from './node-finder.ts';
import type { UnclaimedBoards } from './unclaimed.ts';

export interface BootServiceOptions {
  readonly nodes: NodeStore;
  readonly finder: NodeFinder;
  readonly sessions: BootSessions;
  readonly unclaimed: UnclaimedBoards;
  readonly images: ImageCatalog;
  /** In this order; the first that has a file serves it. */
  readonly fileSources: readonly FileSource[];
  readonly httpPort: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The interface that a request came in by. */
export interface Face {
  readonly name: string;
  readonly address: Ipv4;
}

/** In place of a ClientClass: a Pi with CLIENT_IP in its EEPROM, of which the server sees TFTP only. */
const fixedAddressClient = 'fixed-address';

interface SessionClient extends Pick<Client, 'mac' | 'pxeArch'> {
  readonly class: Client['class'] | typeof fixedAddressClient;
}

export class BootService {
  readonly #options: BootServiceOptions;
  /** Opening a session takes a look at the images; what a node asks meanwhile waits for it. */
  readonly #opening = new Map<NodeName, Promise<BootSession | undefined>>();

  constructor(options: BootServiceOptions) {
    this.#options = options;
  }

  onDhcp(report: DhcpReport, face: Face): void {
    const { client, node, decision } = report;
    const { nodes, sessions, unclaimed, clock, log } = this.#options;
    if (!node) {
      if (client.class !== 'lease' && unclaimed.knock(client, face.name)) {
        log.info({ mac: client.mac, serial: client.serial, model: client.model, interface: face.name }, 'unknown board asks to boot');
      }
      log.debug({ mac: client.mac, client: client.class, decision: decision.kind, reason: reasonOf(report) }, 'dhcp');
      return;
    }
    unclaimed.forget(client.mac);
    if (client.model !== undefined && node.model !== client.model && client.class !== 'pi3-rom') {
      nodes.update(node.name, { model: client.model });
    }
    if (decision.kind === 'offer' && !this.#opening.has(node.name) && opensSession(sessions.of(node.name), client.class, clock.now())) {
      void this.#open(node, client);
    }
    const detail =
      decision.kind === 'silence'
        ? `${client.class}: silence, ${decision.reason}`
        : `${client.class}: ${decision.kind} ${decision.reply.yiaddr}`;
    const record = (): void => sessions.record(node.name, 'dhcp', 'dhcp', detail);
    const opening = this.#opening.get(node.name);
    if (opening) {
      void opening.then(record);
    } else {
      record();
    }
  }

  async #open(node: Node, client: SessionClient): Promise<BootSession | undefined> {
    const opening = this.#openNow(node, client).catch((error: unknown) => {
      this.#options.log.error({ node: node.name, reason: messageOf(error) }, 'boot could not be started');
      return undefined;
    });
    this.#opening.set(node.name, opening);
    return await opening.finally(() => this.#opening.delete(node.name));
  }

  async #openNow(node: Node, client: SessionClient): Promise<BootSession | undefined> {
    const arch = architectureOf(client, node.serial);
    const image = await this.#options.images.newest(node.image, arch);
    if (!image) {
      this.#options.log.warn({ node: node.name, image: node.image, arch }, 'no such image; cardless image build makes one');
      return undefined;
    }
    return this.#options.sessions.open({ node: node.name, arch, client: client.class, digest: image.digest, mac: client.mac });
  }

  async #session(node: NodeName): Promise<BootSession | undefined> {
    return (await this.#opening.get(node)) ?? this.#options.sessions.of(node);
  }

  // ---- TFTP ----

  async readTftp(filename: string, peer: Ipv4, face: Face): Promise<FileAnswer> {
    const name = readTftpPath(filename);
    if (name.kind === 'refused') {
      return { kind: 'refused', reason: name.reason };
    }
    const owner = await this.#options.finder.ownerOf(peer);
    const node = this.#options.finder.behind(name.serial, owner);
    if (!node) {
      return { kind: 'missing', expected: true };
    }
    if (owner === undefined || !this.#options.finder.mayBe(node, owner)) {
      return { kind: 'refused', reason: `${node.name} is another machine` };
    }
    const session = await this.#sessionForFiles(node, owner);
    const image = session && (await this.#options.images.find(session.digest));
    const boot = { image, text: (path: string) => (session && image ? this.#renderText(path, session, image, face) : undefined) };
    const bytes = await readFromSources(this.#options.fileSources, name.path, boot);
    return bytes ? { kind: 'found', bytes } : { kind: 'missing', expected: isExpectedMissing(name.path) };
  }

  /**
   * The boot whose files these are. It is open to firmware until the initramfs has its plan: from then on the node's own
   * system may run, whose users must not get a token by asking for a file. A board with a fixed address never asks by
   * DHCP, so for such a board alone its first file opens the session.
   */
  async #sessionForFiles(node: Node, mac: Mac): Promise<BootSession | undefined> {
    const session = await this.#session(node.name);
    if (session && isInFirmware(session)) {
      return session;
    }
    const neverAsked = session === undefined || session.client === fixedAddressClient;
    return neverAsked && node.serial ? await this.#open(node, { class: fixedAddressClient, mac }) : undefined;
  }

  /** Depends on nothing that can change during a boot, so all reads of it see the same bytes. */
  #renderText(path: string, session: BootSession, image: Image, face: Face): string | undefined {
    switch (path) {
      case 'config.txt':
        return renderConfigTxt(this.#bootFacts(session, image, face));
      case 'cmdline.txt':
        return renderCmdlineTxt(this.#bootFacts(session, image, face));
      default:
        return undefined;
    }
  }

  #bootFacts(session: BootSession, image: Image, face: Face): BootFacts {
    return {
      node: session.node,
      image,
      server: face.address,
      httpPort: this.#options.httpPort,
      token: session.token,
      ...(session.mac === undefined ? {} : { mac: session.mac }),
    };
  }

  async onTftp(report: TftpReport): Promise<void> {
    const name = readTftpPath(report.filename);
    const owner = await this.#options.finder.ownerOf(report.peer.address);
    const node = this.#options.finder.behind(name.kind === 'path' ? name.serial : undefined, owner);
    const { log, sessions } = this.#options;
    const fields = { node: node?.name, peer: report.peer.address, file: report.filename, ms: report.ms };
    const { outcome } = report;
    const path = name.kind === 'path' ? name.path : report.filename;
    switch (outcome.kind) {
      case 'sent':
        log.debug({ ...fields, bytes: outcome.bytes }, 'file sent');
        if (node) {
          sessions.record(node.name, stageOfFile(path), 'file sent', `${path} ${outcome.bytes} bytes ${report.ms} ms`);
        }
        return;
      case 'missing':
        log[outcome.expected ? 'debug' : 'info'](fields, 'file missing');
        return;
      case 'refused':
        log.warn({ ...fields, reason: outcome.reason }, 'file refused');
        return;
      case 'stopped':
        log[outcome.probe ? 'debug' : 'info']({ ...fields, code: outcome.code, message: outcome.message }, 'client stopped the transfer');
        return;
      case 'timed-out':
        log.warn({ ...fields, block: outcome.block }, 'transfer timed out');
        if (node) {
          sessions.record(node.name, stageOfFile(path), 'transfer timed out', `${path} at block ${outcome.block}`);
        }
        return;
      default:
        outcome satisfies never;
    }
  }

  // ---- iPXE ----

  /** Who asks is told by the link, not by the query: a token is for the machine that it boots. */
  async ipxeBoot(query: { readonly mac: string; readonly uuid: string }, peer: Ipv4, face: Face): Promise<string> {
    const owner = await this.#options.finder.ownerOf(peer);
    if (owner === undefined || owner !== parseMac(query.mac)) {
      throw new UserError('not-permitted', `${peer} is not the machine with the MAC ${query.mac}`);
    }
    const node = this.#options.finder.behind(undefined, owner);
    if (!node) {
      const serial = /^[0-9a-f-]{36}$/i.test(query.uuid) ? parseSerial(query.uuid) : undefined;
      this.#options.unclaimed.knock({ class: 'ipxe', mac: owner, model: 'PC', ...(serial ? { serial } : {}) }, face.name);
      return renderIpxeUnknown(serial ?? owner);
    }
    const session = await this.#session(node.name);
    if (!session || !isInFirmware(session)) {
      return renderIpxeUnknown(`${node.name}: there is no image ${node.image}, or no boot under way`);
    }
    this.#options.sessions.record(node.name, 'firmware', 'ipxe script');
    return renderIpxeBoot(this.#bootFacts(session, await this.#options.images.require(session.digest), face));
  }

  async bootFile(token: string, name: string): Promise<string> {
    const session = this.#options.sessions.underWay(token);
    const image = await this.#options.images.require(session.digest);
    const file = image.files.find((entry) => entry.path === `boot/${name}`);
    if (!file) {
      throw new UserError('not-found', `The image has no boot file "${name}"`);
    }
    this.#options.sessions.record(session.node, 'kernel', 'file requested', `${name} ${file.bytes} bytes`);
    return this.#options.images.pathOf(image.digest, file.path);
  }
}

function isInFirmware(session: BootSession): boolean {
  return session.outcome === 'running' && session.address === undefined;
}

function reasonOf(report: DhcpReport): string | undefined {
  return report.decision.kind === 'silence' ? report.decision.reason : undefined;
}
