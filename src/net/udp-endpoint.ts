/** A UDP socket bound to one interface: what it hears came from there, what it sends leaves there. */
import { createSocket, type Socket } from 'node:dgram';
import { anyAddress, type Ipv4, ipv4FromNumber, ipv4ToNumber, parseIpv4 } from '../domain/ipv4.ts';
import { DatagramBatch, slots } from './datagram-batch.ts';
import { forceReceiveBuffer, openUdpDescriptor, SystemError } from './libc.ts';

export interface UdpPeer {
  readonly address: Ipv4;
  readonly port: number;
}

export interface UdpEndpoint extends AsyncDisposable {
  readonly port: number;
  /** A failed send is reported to `onError` and otherwise lost, as UDP is. */
  send(data: Buffer, peer: UdpPeer): void;
  close(): Promise<void>;
}

export interface UdpEndpointOptions {
  readonly interfaceName: string;
  readonly address: Ipv4;
  /** 0 takes a free one. */
  readonly port: number;
  /** What may wait in the kernel while we are busy; by default what the system allows everybody. */
  readonly receiveBufferBytes?: number;
  /** For a port that hears many at once: whole batches with each system call, in place of one datagram. */
  readonly isBusy?: boolean;
  readonly onMessage: (data: Buffer, peer: UdpPeer) => void;
  readonly onError: (error: Error) => void;
}

/** @throws SystemError when the port is taken or the interface is missing */
export function openUdpEndpoint(options: UdpEndpointOptions): UdpEndpoint {
  const fd = openUdpDescriptor(options.interfaceName, options.address, options.port);
  if (options.receiveBufferBytes !== undefined) {
    forceReceiveBuffer(fd, options.receiveBufferBytes);
  }
  // All peers are addresses already: nothing to look up, which Node would do in a later turn.
  const socket: Socket = createSocket({ type: 'udp4', lookup: (address, _options, callback) => callback(null, address, 4) });
  const batch = options.isBusy ? new BusyDescriptor(fd, options) : undefined;
  let known = { text: '', address: anyAddress };
  socket.on('message', (data, from) => {
    // Nobody can be answered at port 0, and Node throws at the attempt.
    if (from.port !== 0) {
      if (known.text !== from.address) {
        known = { text: from.address, address: parseIpv4(from.address) };
      }
      receive(options, data, { address: known.address, port: from.port });
    }
    batch?.drain();
  });
  socket.on('error', options.onError);
  socket.bind({ fd });
  const onSent = (error: Error | null): void => {
    if (error) {
      options.onError(error);
    }
  };
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    batch?.flush();
    closing ??= new Promise((resolve) => socket.close(() => resolve()));
    return closing;
  };
  return {
    port: socket.address().port,
    send: (data, peer) => {
      if (!closing && !batch?.queue(data, peer)) {
        socket.send(data, peer.port, peer.address, onSent);
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

const busySizes = { receiveBytes: 2048, sendBytes: 2048, segments: 1 };
/** Then the event loop gets its turn. */
const maxRounds = 8;

/** Node says when the first datagram is there; what waits behind it is taken, and what is sent in one turn goes out, at once. */
class BusyDescriptor {
  readonly #fd: number;
  readonly #options: UdpEndpointOptions;
  readonly #batch = new DatagramBatch(busySizes);
  #isQueued = false;

  constructor(fd: number, options: UdpEndpointOptions) {
    this.#fd = fd;
    this.#options = options;
  }

  drain(): void {
    for (let round = 0; round < maxRounds; round += 1) {
      const count = this.#batch.receive(this.#fd);
      for (let slot = 0; slot < count; slot += 1) {
        const at = this.#batch.offset(slot);
        const peer = { address: ipv4FromNumber(this.#batch.peerAddress(slot)), port: this.#batch.peerPort(slot) };
        if (peer.port !== 0) {
          receive(this.#options, Buffer.from(this.#batch.received.subarray(at, at + this.#batch.length(slot))), peer);
        }
      }
      if (count < slots) {
        break;
      }
    }
  }

  /** False when it is too large for this way. */
  queue(data: Buffer, peer: UdpPeer): boolean {
    if (data.length > busySizes.sendBytes) {
      return false;
    }
    this.#batch.queueBytes(this.#fd, { address: ipv4ToNumber(peer.address), port: peer.port }, data);
    if (!this.#isQueued) {
      this.#isQueued = true;
      queueMicrotask(() => this.flush());
    }
    return true;
  }

  flush(): void {
    this.#isQueued = false;
    const errno = this.#batch.flush(this.#fd);
    if (errno !== 0) {
      this.#options.onError(new SystemError('sendmmsg', errno));
    }
  }
}

/** What a packet sets off may fail, on a full disk for one. That is told, and the next packet is heard all the same. */
function receive(options: UdpEndpointOptions, data: Buffer, peer: UdpPeer): void {
  try {
    options.onMessage(data, peer);
  } catch (error) {
    options.onError(error instanceof Error ? error : new Error(String(error)));
  }
}
