/** Read-only TFTP: one socket for requests, one per transfer (RFC 1350 section 4: the port is the transfer's name). */
import type { Clock } from '../../domain/clock.ts';
import { DecodeError, messageOf } from '../../domain/errors.ts';
import type { UdpEndpoint, UdpPeer } from '../../net/udp-endpoint.ts';
import {
  nextTransfer,
  resend,
  startTransfer,
  type Transfer,
  type TransferEvent,
  type TransferOutcome,
  type TransferStep,
} from '../../policy/tftp-transfer.ts';
import { decodeTftp, encodeTftp, TftpErrorCode, type TftpPacket } from '../../protocol/tftp/packet.ts';

export type FileAnswer =
  | { readonly kind: 'found'; readonly bytes: Buffer }
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
  /** A socket of its own for one transfer, on the address that was asked. */
  readonly openEndpoint: (onMessage: (data: Buffer, peer: UdpPeer) => void) => UdpEndpoint;
  readonly report: (report: TftpReport) => void;
  readonly onBadPacket: (reason: string) => void;
  readonly onFailure: (error: unknown) => void;
  readonly maxTransfers: number;
  readonly maxTransfersPerClient: number;
}

interface Running {
  readonly filename: string;
  readonly peer: UdpPeer;
  readonly endpoint: UdpEndpoint;
  readonly startedAt: number;
  transfer: Transfer;
  cancelTimer: () => void;
}

const refusals = {
  write: { code: TftpErrorCode.AccessViolation, message: 'This server is read-only' },
  mode: { code: TftpErrorCode.IllegalOperation, message: 'Only octet mode is served' },
  missing: { code: TftpErrorCode.FileNotFound, message: 'File not found' },
  refused: { code: TftpErrorCode.AccessViolation, message: 'Access violation' },
  busy: { code: TftpErrorCode.Undefined, message: 'Too many transfers' },
  failure: { code: TftpErrorCode.Undefined, message: 'Server error' },
} as const;

export class TftpServer {
  readonly #options: TftpServerOptions;
  // BOUNDED: at most maxTransfers; a client with more than maxTransfersPerClient loses its oldest.
  readonly #running = new Map<string, Running>();
  /** Requests whose file is still being looked up. */
  readonly #starting = new Set<string>();

  constructor(options: TftpServerOptions) {
    this.#options = options;
  }

  receive(data: Buffer, peer: UdpPeer, send: UdpEndpoint['send']): void {
    const packet = this.#decode(data);
    if (packet?.kind === 'wrq') {
      send(encodeTftp({ kind: 'error', ...refusals.write }), peer);
      return;
    }
    if (packet?.kind !== 'rrq') {
      return;
    }
    const key = keyOf(peer);
    if (this.#starting.has(key)) {
      return;
    }
    const running = this.#running.get(key);
    if (running?.filename === packet.filename) {
      // The client did not hear our first packet; it asks from the same port until it does.
      this.#apply(key, running, resend(running.transfer));
      return;
    }
    if (running) {
      this.#end(key, running);
    }
    if (packet.mode.toLowerCase() !== 'octet') {
      send(encodeTftp({ kind: 'error', ...refusals.mode }), peer);
      return;
    }
    if (this.#running.size + this.#starting.size >= this.#options.maxTransfers) {
      send(encodeTftp({ kind: 'error', ...refusals.busy }), peer);
      return;
    }
    this.#starting.add(key);
    this.#start(packet, peer, send)
      .catch((error: unknown) => {
        send(encodeTftp({ kind: 'error', ...refusals.failure }), peer);
        this.#options.onFailure(error);
      })
      .finally(() => this.#starting.delete(key));
  }

  async close(): Promise<void> {
    const all = [...this.#running.values()];
    this.#running.clear();
    await Promise.all(
      all.map((running) => {
        running.cancelTimer();
        return running.endpoint.close();
      }),
    );
  }

  async #start(request: Extract<TftpPacket, { kind: 'rrq' | 'wrq' }>, peer: UdpPeer, send: UdpEndpoint['send']): Promise<void> {
    const { clock, read, report } = this.#options;
    const startedAt = clock.now();
    const answer = await read(request.filename, peer);
    if (answer.kind !== 'found') {
      send(encodeTftp({ kind: 'error', ...refusals[answer.kind] }), peer);
      report({ peer, filename: request.filename, outcome: answer, ms: clock.now() - startedAt });
      return;
    }
    this.#makeRoom(peer);
    const key = keyOf(peer);
    const first = startTransfer(answer.bytes, request.options);
    if (first.kind !== 'send') {
      return;
    }
    const endpoint = this.#options.openEndpoint((data, from) => this.#onTransferPacket(key, data, from));
    const running: Running = { filename: request.filename, peer, endpoint, startedAt, transfer: first.transfer, cancelTimer: () => {} };
    this.#running.set(key, running);
    this.#apply(key, running, first);
  }

  #makeRoom(peer: UdpPeer): void {
    const same = [...this.#running].filter(([, running]) => running.peer.address === peer.address);
    if (same.length >= this.#options.maxTransfersPerClient && same[0]) {
      this.#end(...same[0]);
    }
  }

  #onTransferPacket(key: string, data: Buffer, from: UdpPeer): void {
    const running = this.#running.get(key);
    if (!running) {
      return;
    }
    if (keyOf(from) !== key) {
      // A stranger must neither advance nor end the transfer (RFC 1350 section 4).
      const packet: TftpPacket = { kind: 'error', code: TftpErrorCode.UnknownTransferId, message: 'Unknown transfer ID' };
      running.endpoint.send(encodeTftp(packet), from);
      return;
    }
    const packet = this.#decode(data);
    if (packet) {
      this.#step(key, running, { kind: 'packet', packet });
    }
  }

  #step(key: string, running: Running, event: TransferEvent): void {
    this.#apply(key, running, nextTransfer(running.transfer, event));
  }

  #apply(key: string, running: Running, step: TransferStep): void {
    switch (step.kind) {
      case 'wait':
        return;
      case 'send':
        running.transfer = step.transfer;
        running.cancelTimer();
        running.cancelTimer = this.#options.clock.after(step.timeoutMs, () => this.#step(key, running, { kind: 'timeout' }));
        running.endpoint.send(encodeTftp(step.packet), running.peer);
        return;
      case 'end':
        if (step.packet) {
          running.endpoint.send(encodeTftp(step.packet), running.peer);
        }
        this.#end(key, running);
        this.#options.report({
          peer: running.peer,
          filename: running.filename,
          outcome: step.outcome,
          ms: this.#options.clock.now() - running.startedAt,
        });
        return;
      default:
        step satisfies never;
    }
  }

  #end(key: string, running: Running): void {
    running.cancelTimer();
    if (this.#running.get(key) === running) {
      this.#running.delete(key);
    }
    void running.endpoint.close();
  }

  #decode(data: Buffer): TftpPacket | undefined {
    try {
      return decodeTftp(data);
    } catch (error) {
      if (error instanceof DecodeError) {
        this.#options.onBadPacket(messageOf(error));
        return undefined;
      }
      throw error;
    }
  }
}

function keyOf(peer: UdpPeer): string {
  return `${peer.address}:${peer.port}`;
}
