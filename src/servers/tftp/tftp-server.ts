/** Read-only TFTP: hears requests, finds the file, hands the transfer to a data path (RFC 1350, RFC 2347). */
import type { Clock } from '../../domain/clock.ts';
import type { Ipv4 } from '../../domain/ipv4.ts';
import type { UdpEndpoint, UdpPeer } from '../../net/udp-endpoint.ts';
import { toNetascii } from '../../policy/netascii.ts';
import type { Pace, TransferOutcome } from '../../policy/tftp-transfer.ts';
import { encodeTftp, TftpErrorCode, type TftpPacket } from '../../protocol/tftp/packet.ts';
import { type DataPath, keyOf, type OpenTransfer } from './data-path.ts';
import { readPacket } from './read-packet.ts';

export type FileAnswer =
  /** Without a pace the careful one is kept. */
  | { readonly kind: 'found'; readonly bytes: Buffer; readonly pace?: Pace }
  | { readonly kind: 'missing'; readonly expected: boolean }
  | { readonly kind: 'refused'; readonly reason: string };

export interface TftpReport {
  readonly peer: UdpPeer;
  readonly filename: string;
  readonly outcome: TransferOutcome | Exclude<FileAnswer, { kind: 'found' }>;
  readonly ms: number;
}

export interface TftpServerOptions {
  readonly clock: Clock;
  readonly read: (filename: string, peer: UdpPeer) => Promise<FileAnswer>;
  readonly dataPath: DataPath;
  readonly report: (report: TftpReport) => void;
  readonly onBadPacket: (reason: string) => void;
  readonly onFailure: (error: unknown) => void;
  readonly maxTransfers: number;
  readonly maxTransfersPerClient: number;
}

type Request = Extract<TftpPacket, { kind: 'rrq' | 'wrq' }>;

interface Running {
  readonly request: Request;
  readonly peer: UdpPeer;
  readonly send: UdpEndpoint['send'];
  readonly startedAt: number;
  /** Absent while the file is looked up or a place is waited for. */
  open?: OpenTransfer;
}

const refusals = {
  write: { code: TftpErrorCode.AccessViolation, message: 'This server is read-only' },
  mode: { code: TftpErrorCode.IllegalOperation, message: 'Only octet and netascii are served' },
  missing: { code: TftpErrorCode.FileNotFound, message: 'File not found' },
  refused: { code: TftpErrorCode.AccessViolation, message: 'Access violation' },
  failure: { code: TftpErrorCode.Undefined, message: 'Server error' },
} as const;

export class TftpServer {
  readonly #options: TftpServerOptions;
  // BOUNDED: at most maxTransfers, of which the greediest client loses its oldest to one that has less; a client with more
  // than maxTransfersPerClient loses its oldest.
  readonly #running = new Map<string, Running>();
  readonly #ofClient = new Map<Ipv4, Set<string>>();

  constructor(options: TftpServerOptions) {
    this.#options = options;
  }

  receive(data: Buffer, peer: UdpPeer, send: UdpEndpoint['send']): void {
    const packet = readPacket(data, this.#options.onBadPacket);
    if (packet?.kind === 'wrq') {
      send(encodeTftp({ kind: 'error', ...refusals.write }), peer);
      return;
    }
    if (packet?.kind !== 'rrq') {
      return;
    }
    const key = keyOf(peer);
    const running = this.#running.get(key);
    if (running?.request.filename === packet.filename) {
      running.open?.again();
      return;
    }
    if (running) {
      this.#forget(key, running);
    }
    if (!['octet', 'netascii'].includes(packet.mode.toLowerCase())) {
      send(encodeTftp({ kind: 'error', ...refusals.mode }), peer);
      return;
    }
    if (this.#running.size >= this.#options.maxTransfers && !this.#takeFromGreediest(peer.address)) {
      // An ERROR would make firmware take the file for missing and boot something else. It asks again by itself.
      this.#options.onBadPacket('too many transfers');
      return;
    }
    this.#start({ request: packet, peer, send, startedAt: this.#options.clock.now() });
  }

  async close(): Promise<void> {
    this.#running.clear();
    this.#ofClient.clear();
    await this.#options.dataPath.close();
  }

  #start(running: Running): void {
    const { peer, send } = running;
    const key = keyOf(peer);
    this.#makeRoom(peer.address);
    this.#running.set(key, running);
    const keys = this.#ofClient.get(peer.address) ?? new Set();
    this.#ofClient.set(peer.address, keys.add(key));
    this.#serve(key, running).catch((error: unknown) => {
      if (this.#running.get(key) === running) {
        this.#forget(key, running);
        send(encodeTftp({ kind: 'error', ...refusals.failure }), peer);
      }
      this.#options.onFailure(error);
    });
  }

  async #serve(key: string, running: Running): Promise<void> {
    const { request, peer, send } = running;
    const answer = await this.#options.read(request.filename, peer);
    if (this.#running.get(key) !== running) {
      return;
    }
    if (answer.kind !== 'found') {
      this.#forget(key, running);
      send(encodeTftp({ kind: 'error', ...refusals[answer.kind] }), peer);
      this.#report(running, answer);
      return;
    }
    running.open = this.#options.dataPath.open({
      peer,
      bytes: request.mode.toLowerCase() === 'netascii' ? toNetascii(answer.bytes) : answer.bytes,
      asked: request.options,
      pace: answer.pace ?? 'firmware',
      onEnd: (outcome) => this.#onEnd(key, running, outcome),
    });
  }

  #onEnd(key: string, running: Running, outcome: TransferOutcome): void {
    const isCurrent = this.#running.get(key) === running;
    if (isCurrent) {
      this.#forget(key, running);
    }
    // A client that takes its next file from the same port is quicker than the news of its last one.
    if (isCurrent || outcome.kind === 'sent') {
      this.#report(running, outcome);
    }
    if (isCurrent && outcome.kind === 'restarted') {
      const { request, peer, send } = running;
      this.#start({ request, peer, send, startedAt: this.#options.clock.now() });
    }
  }

  #report({ peer, request, startedAt }: Running, outcome: TftpReport['outcome']): void {
    this.#options.report({ peer, filename: request.filename, outcome, ms: this.#options.clock.now() - startedAt });
  }

  #makeRoom(address: Ipv4): void {
    const keys = this.#ofClient.get(address);
    const [oldest] = keys ?? [];
    const running = oldest === undefined ? undefined : this.#running.get(oldest);
    if (keys && oldest !== undefined && running && keys.size >= this.#options.maxTransfersPerClient) {
      this.#forget(oldest, running);
    }
  }

  /** One machine with many addresses must not keep the others out. False when nobody has two more than who asks. */
  #takeFromGreediest(asking: Ipv4): boolean {
    let greediest: ReadonlySet<string> = new Set();
    for (const keys of this.#ofClient.values()) {
      greediest = keys.size > greediest.size ? keys : greediest;
    }
    const [oldest] = greediest;
    const running = oldest === undefined ? undefined : this.#running.get(oldest);
    if (oldest === undefined || !running || greediest.size < (this.#ofClient.get(asking)?.size ?? 0) + 2) {
      return false;
    }
    this.#forget(oldest, running);
    return true;
  }

  #forget(key: string, running: Running): void {
    running.open?.stop();
    this.#running.delete(key);
    const keys = this.#ofClient.get(running.peer.address);
    keys?.delete(key);
    if (keys?.size === 0) {
      this.#ofClient.delete(running.peer.address);
    }
  }
}
