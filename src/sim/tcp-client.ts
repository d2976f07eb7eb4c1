/**
 * TCP (RFC 9293) from the side of firmware that fetches a file: connects, sends one request, takes bytes in order and
 * acknowledges each segment at once. A segment out of turn is kept and the gap acknowledged again, so that the server
 * sends what was lost and not all that followed.
 */
import type { Clock } from '../domain/clock.ts';
import { UserError } from '../domain/errors.ts';
import type { TcpHandlers, TcpStream } from './board-network.ts';
import { checksum, ipProtocol, writeIpFrame } from './frames.ts';

const flag = { fin: 1, syn: 2, rst: 4, push: 8, ack: 16 } as const;
const headerBytes = 20;
const windowBytes = 65_535;
const mssOption = [2, 4, 0x05, 0xb4];
const resendMs = 1000;
const resends = 5;
/** Nothing from the server for so long: firmware gives up. */
const silenceMs = 30_000;

export interface TcpClientOptions extends TcpHandlers {
  readonly clock: Clock;
  readonly addresses: {
    readonly sourceMac: number;
    readonly destinationMac: number;
    readonly source: number;
    readonly destination: number;
  };
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly transmit: (write: (frame: Buffer) => number) => number;
  readonly onClosed: () => void;
}

export class TcpClient implements TcpStream {
  readonly connected: Promise<void>;
  readonly #options: TcpClientOptions;
  readonly #connecting = Promise.withResolvers<void>();
  #state: 'syn-sent' | 'open' | 'closed' = 'syn-sent';
  /** Oldest byte of ours that is not acknowledged, and what follows it. */
  #sequence = 1;
  #unacknowledged: Buffer = Buffer.alloc(0);
  #expected = 0;
  /** Segments behind a gap, by sequence number. BOUNDED: by the window. */
  readonly #early = new Map<number, Buffer>();
  #lastHeardAt: number;

  constructor(options: TcpClientOptions) {
    this.#options = options;
    this.connected = this.#connecting.promise;
    this.#lastHeardAt = options.clock.now();
    this.#send(flag.syn, Buffer.alloc(0), 0);
    this.#watch(resends);
  }

  write(data: Buffer): void {
    this.#unacknowledged = Buffer.concat([this.#unacknowledged, data]);
    this.#send(flag.ack | flag.push, this.#unacknowledged, this.#sequence);
    this.#watch(resends);
  }

  close(): void {
    if (this.#state !== 'closed') {
      this.#send(flag.rst | flag.ack, Buffer.alloc(0), this.#sequence + this.#unacknowledged.length);
      this.#finish();
    }
  }

  receive(segment: Buffer): void {
    if (segment.length < headerBytes || this.#state === 'closed') {
      return;
    }
    this.#lastHeardAt = this.#options.clock.now();
    const flags = segment[13] ?? 0;
    const sequence = segment.readUInt32BE(4);
    if ((flags & flag.rst) !== 0) {
      this.#fail(new UserError('unavailable', 'The server reset the connection'));
    } else if (this.#state === 'syn-sent') {
      this.#onSynAck(flags, sequence);
    } else {
      this.#onSegment(segment, flags, sequence);
    }
  }

  #onSynAck(flags: number, sequence: number): void {
    if ((flags & (flag.syn | flag.ack)) === (flag.syn | flag.ack)) {
      this.#state = 'open';
      this.#expected = (sequence + 1) >>> 0;
      this.#send(flag.ack, Buffer.alloc(0), this.#sequence);
      this.#connecting.resolve();
    }
  }

  #onSegment(segment: Buffer, flags: number, sequence: number): void {
    const acknowledged = (segment.readUInt32BE(8) - this.#sequence) >>> 0;
    if (acknowledged > 0 && acknowledged <= this.#unacknowledged.length) {
      this.#unacknowledged = this.#unacknowledged.subarray(acknowledged);
      this.#sequence += acknowledged;
    }
    const data = segment.subarray(((segment[12] ?? 0) >> 4) * 4);
    const isFin = (flags & flag.fin) !== 0;
    if (data.length === 0 && !isFin && (flags & flag.syn) === 0) {
      return;
    }
    const ahead = (sequence - this.#expected) >>> 0;
    if (ahead > 0 && ahead <= windowBytes && data.length > 0) {
      this.#early.set(sequence, Buffer.from(data));
    }
    this.#takeInTurn(sequence, data);
    for (let next = this.#firstEarly(); next; next = this.#firstEarly()) {
      this.#early.delete(next[0]);
      this.#takeInTurn(...next);
    }
    // A FIN behind a gap comes again.
    const isOver = isFin && this.#expected === (sequence + data.length) >>> 0;
    this.#expected = (this.#expected + (isOver ? 1 : 0)) >>> 0;
    if (this.#isClosed()) {
      return;
    }
    this.#send(isOver ? flag.fin | flag.ack : flag.ack, Buffer.alloc(0), this.#sequence);
    if (isOver) {
      this.#finish();
      this.#options.onEnd(undefined);
    }
  }

  /** The reader of the data may close us. */
  #isClosed(): boolean {
    return this.#state === 'closed';
  }

  #takeInTurn(sequence: number, data: Buffer): void {
    const already = (this.#expected - sequence) >>> 0;
    if (already < data.length && !this.#isClosed()) {
      const fresh = data.subarray(already);
      this.#expected = (this.#expected + fresh.length) >>> 0;
      this.#options.onData(fresh);
    }
  }

  #firstEarly(): [number, Buffer] | undefined {
    for (const [sequence, data] of this.#early) {
      // Up to a window behind counts as had already.
      if ((this.#expected - sequence) >>> 0 <= windowBytes * 2) {
        return [sequence, data];
      }
    }
    return undefined;
  }

  /** Sends SYN or request again until the server has it, and gives up on a server that fell silent. */
  #watch(resendsLeft: number): void {
    const { clock } = this.#options;
    clock.after(resendMs, () => {
      if (this.#state === 'closed') {
        return;
      }
      if (resendsLeft === 0 || clock.now() - this.#lastHeardAt > silenceMs) {
        this.#fail(new UserError('unavailable', 'The server does not answer'));
        return;
      }
      const isHeard = this.#state === 'open' && this.#unacknowledged.length === 0;
      if (this.#state === 'syn-sent') {
        this.#send(flag.syn, Buffer.alloc(0), 0);
      } else if (!isHeard) {
        this.#send(flag.ack | flag.push, this.#unacknowledged, this.#sequence);
      }
      this.#watch(isHeard ? resends : resendsLeft - 1);
    });
  }

  #fail(error: Error): void {
    const isConnecting = this.#state === 'syn-sent';
    this.#finish();
    if (isConnecting) {
      this.#connecting.reject(error);
    } else {
      this.#options.onEnd(error);
    }
  }

  #finish(): void {
    this.#state = 'closed';
    this.#options.onClosed();
  }

  #send(flags: number, data: Buffer, sequence: number): void {
    const { addresses, sourcePort, destinationPort, transmit } = this.#options;
    const options = (flags & flag.syn) === 0 ? [] : mssOption;
    const length = headerBytes + options.length + data.length;
    const expected = this.#expected;
    transmit((frame) => {
      const { source, destination } = addresses;
      const ip = { source, destination, protocol: ipProtocol.tcp, length };
      const at = writeIpFrame(frame, addresses.sourceMac, addresses.destinationMac, ip);
      frame.writeUInt16BE(sourcePort, at);
      frame.writeUInt16BE(destinationPort, at + 2);
      frame.writeUInt32BE(sequence >>> 0, at + 4);
      frame.writeUInt32BE(expected, at + 8);
      frame.writeUInt16BE((((headerBytes + options.length) / 4) << 12) | flags, at + 12);
      frame.writeUInt16BE(windowBytes, at + 14);
      frame.writeUInt32BE(0, at + 16);
      frame.set(options, at + headerBytes);
      data.copy(frame, at + headerBytes + options.length);
      const pseudoHeader = (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + ipProtocol.tcp + length;
      frame.writeUInt16BE(checksum(frame, at, at + length, pseudoHeader), at + 16);
      return Math.max(60, at + length);
    });
  }
}
