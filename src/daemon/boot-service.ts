/** A board's way to its kernel: which node is it, which boot does it belong to, which files does it get. */
import type { BootSession } from '../domain/boot-session.ts';
import type { Clock } from '../domain/clock.ts';
import { messageOf, UserError } from '../domain/errors.ts';
import type { Image } from '../domain/image.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import { type Mac, parseMac } from '../domain/mac.ts';
import type { Node, NodeName } from '../domain/node.ts';
import { isPiSerial, parseSerial } from '../domain/serial.ts';
import type { ImageCatalog } from '../images/catalog.ts';
import type { Logger } from '../log/logger.ts';
import { whyNotServed } from '../policy/boot-information.ts';
import { isUnderWay, opensSession } from '../policy/boot-progress.ts';
import { architecturesOf, type Client } from '../policy/classify-client.ts';
import {
  type BootFacts,
  bootConfiguration,
  renderCmdlineTxt,
  renderConfigTxt,
  renderGrubCfg,
  renderIpxeBoot,
  renderIpxeUnknown,
  renderPxelinuxCfg,
} from '../policy/render-config.ts';
import { isExpectedMissing, readTftpPath } from '../policy/tftp-path.ts';
import type { Pace } from '../policy/tftp-transfer.ts';
import type { DhcpReport } from '../servers/dhcp/dhcp-server.ts';
import type { FileAnswer } from '../servers/tftp/tftp-server.ts';
import type { NodeStore } from '../store/nodes.ts';
import type { BootSessions } from './boot-sessions.ts';
import { type BootFiles, type FileSource, readFromSources } from './file-sources.ts';
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
  /** The one of them that anybody may read from. */
  readonly programs: FileSource;
  readonly httpPort: number;
  readonly tftpPrefixes: readonly string[];
  readonly fixedAddresses: boolean;
  readonly bootRamdisk: boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Whose boot a name belongs to, and what there is for it; or why nobody's. */
export type BootLookup =
  | { readonly kind: 'boot'; readonly node: Node; readonly path: string; readonly boot: BootFiles }
  | Exclude<FileAnswer, { kind: 'found' }>;

/** The interface that a request came in by. */
export interface Face {
  readonly name: string;
  readonly address: Ipv4;
}

/** In place of a ClientClass: a Pi with CLIENT_IP in its EEPROM, of which the server sees TFTP only. */
const fixedAddressClient = 'fixed-address';
const modelEveryMs = 60_000;

interface SessionClient extends Pick<Client, 'mac' | 'pxeArch'> {
  readonly class: Client['class'] | typeof fixedAddressClient;
}

export class BootService {
  readonly #options: BootServiceOptions;
  /** Opening a session takes a look at the images; what a node asks meanwhile waits for it. */
  readonly #opening = new Map<NodeName, Promise<BootSession | undefined>>();

  // BOUNDED: one per registered node.
  readonly #modelLearntAt = new Map<NodeName, number>();

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
    const isFirmware = !report.viaBootServer;
    if (
      isFirmware &&
      client.model !== undefined &&
      node.model !== client.model &&
      client.class !== 'pi3-rom' &&
      this.#mayLearnModel(node.name)
    ) {
      nodes.update(node.name, { model: client.model });
    }
    const notServed = decision.kind === 'silence' && decision.reason === 'firmware-not-served';
    // What we have no offer for may have been told by hand where its files are.
    if (
      isFirmware &&
      (decision.kind === 'offer' || notServed) &&
      !this.#opening.has(node.name) &&
      opensSession(sessions.of(node.name), client.class, clock.now())
    ) {
      void this.#open(node, client);
    }
    const detail =
      decision.kind === 'silence'
        ? `${client.class}: silence, ${notServed ? whyNotServed(client) : decision.reason}`
        : `${client.class}: ${decision.kind} ${decision.reply.yiaddr}`;
    const record = (): void => sessions.record(node.name, 'dhcp', 'dhcp', detail);
    const opening = this.#opening.get(node.name);
    if (opening) {
      void opening.then(record);
    } else {
      record();
    }
  }

  /** A write waits for the disk, so packets that contradict each other must not cause one each. */
  #mayLearnModel(node: NodeName): boolean {
    const now = this.#options.clock.now();
    const isSoon = now - (this.#modelLearntAt.get(node) ?? Number.NEGATIVE_INFINITY) < modelEveryMs;
    if (!isSoon) {
      this.#modelLearntAt.set(node, now);
    }
    return !isSoon;
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
    const reasons: string[] = [];
    for (const arch of architecturesOf(client, node.serial)) {
      // From here on the boot has its version: a tag that moves, or a newer build, is for the next one.
      const found = await this.#options.images.resolve(node.image, arch);
      if (found.kind === 'found') {
        const configuration = bootConfiguration(node.settings);
        return this.#options.sessions.open({
          node: node.name,
          arch,
          client: client.class,
          digest: found.image.digest,
          mac: client.mac,
          ...(configuration === undefined ? {} : { configuration }),
        });
      }
      reasons.push(`${arch}: ${found.reason}`);
    }
    this.#options.log.warn({ node: node.name, image: node.image, reasons }, 'no such image; cardless image build makes one');
    return undefined;
  }

  async #session(node: NodeName): Promise<BootSession | undefined> {
    return (await this.#opening.get(node)) ?? this.#options.sessions.of(node);
  }

  #isInFirmware(session: BootSession): boolean {
    return session.address === undefined && isUnderWay(session, this.#options.clock.now());
  }

  // ---- TFTP ----

  async readTftp(filename: string, peer: Ipv4, face: Face): Promise<FileAnswer> {
    const lookup = await this.bootOf(filename, peer, face);
    if (lookup.kind !== 'boot') {
      return lookup;
    }
    const bytes = await readFromSources(this.#options.fileSources, lookup.path, lookup.boot);
    return bytes
      ? { kind: 'found', bytes, pace: paceOf(lookup.node, this.#options.sessions.of(lookup.node.name)) }
      : { kind: 'missing', expected: isExpectedMissing(lookup.path) };
  }

  /** The name is as in TFTP: with or without the directory of a serial. */
  async bootOf(filename: string, peer: Ipv4, face: Face): Promise<BootLookup> {
    const name = readTftpPath(filename, this.#options.tftpPrefixes);
    if (name.kind === 'refused') {
      return { kind: 'refused', reason: name.reason };
    }
    const owner = await this.#options.finder.ownerOf(peer);
    const node = this.#options.finder.behind(name.serial, name.mac ?? owner);
    if (!node) {
      return { kind: 'missing', expected: true };
    }
    if (owner === undefined || !this.#options.finder.mayBe(node, owner, this.#options.fixedAddresses)) {
      return { kind: 'refused', reason: `${node.name} is another machine` };
    }
    const session = await this.#sessionForFiles(node, owner);
    const image = session && (await this.#options.images.find(session.digest));
    const text = (path: string): string | undefined => (session && image ? this.#renderText(path, session, image, face) : undefined);
    return { kind: 'boot', node, path: name.path, boot: { image, session, text } };
  }

  /**
   * The boot whose files these are. It is open to firmware until the initramfs has its plan: from then on the node's own
   * system may run, whose users must not get a token by asking for a file. A board with a fixed address never asks by
   * DHCP, so its first file opens the session, where the operator wants that: nothing tells it from a user's request.
   */
  async #sessionForFiles(node: Node, mac: Mac): Promise<BootSession | undefined> {
    const session = await this.#session(node.name);
    if (session && this.#isInFirmware(session)) {
      return session;
    }
    if (!this.#options.fixedAddresses) {
      return undefined;
    }
    const neverAsked = session === undefined || session.client === fixedAddressClient;
    return neverAsked && node.serial ? await this.#open(node, { class: fixedAddressClient, mac }) : undefined;
  }

  /** Depends on nothing that can change during a boot, so all reads of it see the same bytes. */
  #renderText(path: string, session: BootSession, image: Image, face: Face): string | undefined {
    const facts = this.#bootFacts(session, image, face);
    switch (path) {
      case 'config.txt':
        return renderConfigTxt({ ...facts, bootRamdisk: this.#options.bootRamdisk });
      case 'cmdline.txt':
        return renderCmdlineTxt(facts);
      case 'grub/grub.cfg':
        return renderGrubCfg(facts);
      case `pxelinux.cfg/01-${session.mac?.replaceAll(':', '-')}`:
        return renderPxelinuxCfg(facts);
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
      ...(session.configuration === undefined ? {} : { configuration: session.configuration }),
      ...(session.mac === undefined ? {} : { mac: session.mac }),
    };
  }

  // ---- HTTP, before there is a token ----

  async bootProgram(name: string, peer: Ipv4): Promise<Buffer> {
    const answer = await this.#options.programs(name, { image: undefined, session: undefined, text: () => undefined });
    if (!('found' in answer)) {
      throw new UserError('not-found', `There is no boot program "${name}"`);
    }
    const owner = await this.#options.finder.ownerOf(peer);
    const node = this.#options.finder.behind(undefined, owner);
    if (node) {
      this.#options.sessions.record(node.name, 'firmware', 'file sent', `${name} ${answer.found.length} bytes`);
    }
    return answer.found;
  }

  async grubConfig(peer: Ipv4, face: Face): Promise<string> {
    const owner = await this.#options.finder.ownerOf(peer);
    const node = this.#options.finder.behind(undefined, owner);
    const session = node && (await this.#session(node.name));
    if (!session || !this.#isInFirmware(session)) {
      throw new UserError('not-permitted', `${peer} is no node, or no boot of it is under way`);
    }
    this.#options.sessions.record(session.node, 'firmware', 'file sent', 'grub/grub.cfg');
    return renderGrubCfg(this.#bootFacts(session, await this.#options.images.require(session.digest), face));
  }

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
    if (!session || !this.#isInFirmware(session)) {
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

/** A Pi's firmware hangs on a block that comes twice; everybody else is better served by a quick repetition. */
function paceOf(node: Node, session: BootSession | undefined): Pace {
  const isPi = session?.client.startsWith('pi') || session?.client === fixedAddressClient || (node.serial && isPiSerial(node.serial));
  return isPi ? 'firmware' : 'tool';
}

function reasonOf(report: DhcpReport): string | undefined {
  return report.decision.kind === 'silence' ? report.decision.reason : undefined;
}
