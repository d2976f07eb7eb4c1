/** A socket of Node's for each transfer (RFC 1350 section 4: the port is the transfer's name), or all on one port. */
import type { Clock } from '../../domain/clock.ts';
import type { UdpEndpoint, UdpPeer } from '../../net/udp-endpoint.ts';
import {
  acknowledge,
  blockLength,
  blockStart,
  expire,
  markSent,
  openTransfer,
  requestAgain,
  stoppedBy,
  type Transfer,
  type TransferOutcome,
  wireBlock,
} from '../../policy/tftp-transfer.ts';
import { encodeTftp, TftpErrorCode, type TftpPacket } from '../../protocol/tftp/packet.ts';
import type { DataPath, DataRequest, OpenTransfer } from './data-path.ts';
import { readPacket } from './read-packet.ts';

export interface DatagramPathOptions {
  readonly clock: Clock;
  /** A socket for the transfer with this peer, on the address that was asked. */
  readonly openEndpoint: (peer: UdpPeer, onMessage: (data: Buffer, peer: UdpPeer) => void) => UdpEndpoint;
  readonly onBadPacket: (reason: string) => void;
}

export class DatagramPath implements DataPath {
  readonly #options: DatagramPathOptions;
  // BOUNDED: by the server, which opens no more than its limit.
  readonly #open = new Set<DatagramTransfer>();

  constructor(options: DatagramPathOptions) {
    this.#options = options;
  }

  open(request: DataRequest): OpenTransfer {
    const transfer = new DatagramTransfer(this.#options, request, () => this.#open.delete(transfer));
    this.#open.add(transfer);
    return transfer;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open].map((transfer) => transfer.close()));
  }
}

class DatagramTransfer implements OpenTransfer {
  readonly #options: DatagramPathOptions;
  readonly #request: DataRequest;
  readonly #transfer: Transfer;
  readonly #endpoint: UdpEndpoint;
  readonly #onClosed: () => void;
  #cancelTimer = (): void => {};

  constructor(options: DatagramPathOptions, request: DataRequest, onClosed: () => void) {
    this.#options = options;
    this.#request = request;
    this.#onClosed = onClosed;
    const { bytes, asked, pace, peer } = request;
    this.#transfer = openTransfer({ size: bytes.length, asked, pace, nowMs: options.clock.now() });
    this.#endpoint = options.openEndpoint(peer, (data, from) => this.#receive(data, from));
    this.#sendWindow();
  }

  again(): void {
    const what = requestAgain(this.#transfer, this.#options.clock.now());
    if (what === 'send') {
      this.#sendWindow();
    } else if (what === 'restart') {
      this.#end({ kind: 'restarted' });
    }
  }

  stop(): void {
    void this.close();
  }

  async close(): Promise<void> {
    this.#cancelTimer();
    this.#onClosed();
    await this.#endpoint.close();
  }

  #receive(data: Buffer, from: UdpPeer): void {
    const packet = readPacket(data, this.#options.onBadPacket);
    if (!packet) {
      return;
    }
    const { peer } = this.#request;
    if (from.address !== peer.address || from.port !== peer.port) {
      // A stranger must neither advance nor end the transfer (RFC 1350 section 4). An ERROR is never answered.
      if (packet.kind !== 'error') {
        this.#endpoint.send(encodeTftp({ kind: 'error', code: TftpErrorCode.UnknownTransferId, message: 'Unknown transfer ID' }), from);
      }
      return;
    }
    switch (packet.kind) {
      case 'ack':
        this.#acknowledge(packet.block);
        return;
      case 'error':
        this.#end(stoppedBy(this.#transfer, packet.code, packet.message));
        return;
      case 'rrq':
        // A copy of the request that went astray.
        return;
      default:
        this.#endpoint.send(encodeTftp({ kind: 'error', code: TftpErrorCode.IllegalOperation, message: 'Illegal TFTP operation' }), peer);
        this.#end(stoppedBy(this.#transfer, TftpErrorCode.IllegalOperation, `client sent ${packet.kind}`));
    }
  }

  #acknowledge(block: number): void {
    const what = acknowledge(this.#transfer, block, this.#options.clock.now());
    if (what === 'send') {
      this.#sendWindow();
    } else if (what === 'done') {
      this.#end({ kind: 'sent', bytes: this.#transfer.size });
    }
  }

  #expire(): void {
    if (expire(this.#transfer, this.#options.clock.now()) === 'send') {
      this.#sendWindow();
    } else {
      this.#end({ kind: 'timed-out', block: this.#transfer.acked + 1 });
    }
  }

  #sendWindow(): void {
    const transfer = this.#transfer;
    this.#cancelTimer();
    markSent(transfer, this.#options.clock.now());
    this.#cancelTimer = this.#options.clock.after(transfer.timeoutMs, () => this.#expire());
    for (let block = transfer.acked + 1; block <= transfer.sent; block += 1) {
      this.#endpoint.send(encodeTftp(this.#packet(block)), this.#request.peer);
    }
  }

  #packet(block: number): TftpPacket {
    const transfer = this.#transfer;
    if (block === 0) {
      return { kind: 'oack', options: transfer.options };
    }
    const start = blockStart(transfer, block);
    return { kind: 'data', block: wireBlock(block), data: this.#request.bytes.subarray(start, start + blockLength(transfer, block)) };
  }

  #end(outcome: TransferOutcome): void {
    this.stop();
    this.#request.onEnd(outcome);
  }
}
