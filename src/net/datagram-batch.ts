/**
 * Many datagrams with one system call (recvmmsg, sendmmsg), on descriptors that Node never sees. For a thread of its own: it
 * waits in poll(2), not in Node's event loop. Structures are those of 64-bit Linux; all buffers live as long as the batch,
 * so that addresses written into them stay good.
 */
import { closeSync, writeSync } from 'node:fs';
import koffi from 'koffi';
import { forceReceiveBuffer, SystemError } from './libc.ts';

const libc = koffi.load('libc.so.6');
const recvmmsg = libc.func('int recvmmsg(int fd, void *messages, unsigned int count, int flags, void *timeout)');
const sendmmsg = libc.func('int sendmmsg(int fd, void *messages, unsigned int count, int flags)');
const poll = libc.func('int poll(void *descriptors, unsigned long count, int timeoutMs)');
const eventfd = libc.func('int eventfd(unsigned int initial, int flags)');
const read = libc.func('long read(int fd, void *data, size_t length)');
const setsockopt = libc.func('int setsockopt(int fd, int level, int name, const void *value, unsigned int length)');

const AF_INET = 2;
const EFD_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000;
const MSG_DONTWAIT = 0x40;
const POLLIN = 1;
const POLLOUT = 4;
const SOL_SOCKET = 1;
const SO_SNDBUFFORCE = 32;

export const slots = 128;
const sockaddrBytes = 16;
const iovecBytes = 16;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const controlBytes = 24;
const mmsghdrBytes = 64;
/** How long a full send queue is waited for before a datagram counts as lost, as it would be on a full link. */
const sendWaitMs = 20;
/** Room for a window of every client of a full classroom. */
const socketBufferBytes = 8 * 2 ** 20;
const maxNarrow = 1024;

const segmentErrors = new Set(['EINVAL', 'EIO', 'EOPNOTSUPP', 'ENOPROTOOPT'].map((name) => koffi.os.errno[name]));

/** Where a buffer's bytes are. Good while the buffer is referenced: Node does not move them. */
export function addressOf(bytes: Buffer): number {
  return bytes.length === 0 ? 0 : Number(koffi.address(bytes));
}

/** Large queues, so that a burst of many clients is not lost. Without the privilege the kernel's default stays. */
export function enlargeBuffers(fd: number): void {
  const value = Buffer.alloc(4);
  value.writeInt32LE(socketBufferBytes);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, value, value.length);
  forceReceiveBuffer(fd, socketBufferBytes);
}

/** Wakes a thread that waits in `DatagramBatch.wait`. */
export class WakeUp implements Disposable {
  readonly fd: number;
  readonly #one = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);

  constructor() {
    this.fd = eventfd(0, EFD_NONBLOCK_CLOEXEC);
    if (this.fd < 0) {
      throw new SystemError('eventfd', koffi.errno());
    }
  }

  ring(): void {
    writeSync(this.fd, this.#one);
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/** Who a datagram is for; the address has 32 bits. */
export interface Destination {
  readonly address: number;
  readonly port: number;
}

export interface BlockRun {
  readonly opcode: number;
  /** Number of the first block; 16 bits of it are sent. */
  readonly first: number;
  readonly count: number;
  /** Where the first block is. */
  readonly memory: number;
  readonly blockBytes: number;
  readonly lastBytes: number;
}

export interface BatchSizes {
  /** Room for a datagram that is received; what is longer is cut. */
  readonly receiveBytes: number;
  /** Room for a datagram that is sent by `queueBytes`. */
  readonly sendBytes: number;
  /** Datagrams of a run that go to the kernel as one message; all of it must be below the 65,507 bytes of UDP. */
  readonly segments: number;
}

/** One direction: headers, addresses and places of `slots` datagrams. */
class Messages {
  readonly headers = Buffer.alloc(slots * mmsghdrBytes);
  readonly names = Buffer.alloc(slots * sockaddrBytes);
  readonly iovecs: Buffer;
  readonly head: Buffer;
  readonly words: Uint32Array;
  readonly vectorWords: Uint32Array;
  readonly nameWords: Uint32Array;
  readonly headWords: Uint32Array;

  constructor(bytesEach: number, vectorsEach: number) {
    this.head = Buffer.alloc(slots * bytesEach);
    this.iovecs = Buffer.alloc(slots * vectorsEach * iovecBytes);
    this.words = wordsOf(this.headers);
    this.vectorWords = wordsOf(this.iovecs);
    this.nameWords = wordsOf(this.names);
    this.headWords = wordsOf(this.head);
    const head = addressOf(this.head);
    const names = addressOf(this.names);
    const vectors = addressOf(this.iovecs);
    for (let slot = 0; slot < slots; slot += 1) {
      const at = slot * mmsghdrBytes;
      const vector = slot * vectorsEach * iovecBytes;
      writePointer(this.headers, at, names + slot * sockaddrBytes);
      this.headers.writeUInt32LE(sockaddrBytes, at + 8);
      writePointer(this.headers, at + 16, vectors + vector);
      this.headers.writeUInt32LE(1, at + 24);
      this.iovecs.writeUInt32LE(bytesEach, vector + 8);
      // Every second vector is the four bytes of head before a block.
      for (let index = 0; index < vectorsEach; index += 2) {
        writePointer(this.iovecs, vector + index * iovecBytes, head + slot * bytesEach + index * 2);
      }
    }
  }
}

export class DatagramBatch {
  readonly #sizes: BatchSizes;
  readonly #outVectors: number;
  readonly #in: Messages;
  readonly #out: Messages;
  readonly #control = Buffer.alloc(slots * controlBytes);
  readonly #controlAddress = addressOf(this.#control);
  #canSegment = true;
  /** Peers behind a link with a smaller MTU. BOUNDED: maxNarrow. */
  readonly #narrow = new Set<number>();
  readonly #drain = Buffer.alloc(8);
  #queued = 0;
  #pollSet = Buffer.alloc(0);

  constructor(sizes: BatchSizes) {
    this.#sizes = sizes;
    this.#outVectors = 2 * sizes.segments;
    this.#in = new Messages(sizes.receiveBytes, 1);
    this.#out = new Messages(sizes.sendBytes, this.#outVectors);
  }

  /** Descriptors to wait for; the first is a WakeUp's. */
  watch(fds: readonly number[]): void {
    this.#pollSet = Buffer.alloc(fds.length * 8);
    fds.forEach((fd, index) => {
      this.#pollSet.writeInt32LE(fd, index * 8);
      this.#pollSet.writeInt16LE(POLLIN, index * 8 + 4);
    });
  }

  /**
   * @param timeoutMs -1 waits for ever
   * @returns whether a descriptor is ready
   */
  wait(timeoutMs: number): boolean {
    return poll(this.#pollSet, this.#pollSet.length / 8, timeoutMs) > 0;
  }

  isReady(index: number): boolean {
    return this.#pollSet[index * 8 + 6] !== 0;
  }

  quiet(wakeFd: number): void {
    read(wakeFd, this.#drain, this.#drain.length);
  }

  /** @returns how many datagrams were received, at most `slots` */
  receive(fd: number): number {
    return Math.max(0, recvmmsg(fd, this.#in.headers, slots, MSG_DONTWAIT, null));
  }

  get received(): Buffer {
    return this.#in.head;
  }

  /** Where the datagram begins in `received`. */
  offset(slot: number): number {
    return slot * this.#sizes.receiveBytes;
  }

  length(slot: number): number {
    return this.#in.words[slot * 16 + 14] ?? 0;
  }

  /** 32 bits, as in its sockaddr. */
  peerAddress(slot: number): number {
    return swapped(this.#in.nameWords[slot * 4 + 1] ?? 0);
  }

  peerPort(slot: number): number {
    return swapped(this.#in.nameWords[slot * 4] ?? 0) & 0xffff;
  }

  /** The first four bytes of a datagram, as a number in network byte order. */
  firstWord(slot: number): number {
    return swapped(this.#in.headWords[(slot * this.#sizes.receiveBytes) >>> 2] ?? 0);
  }

  /** How many blocks of a window may be queued as one message; 1 where the kernel or the way there cannot cut them up. */
  maxBlocks(address: number): number {
    return this.#canSegment && !this.#narrow.has(address) ? this.#sizes.segments : 1;
  }

  /**
   * Queues consecutive blocks of a file, all of `blockBytes` but the last. Several go to the kernel as one message that it
   * cuts into datagrams (UDP_SEGMENT), which costs little more than one. Sends first when the batch is full.
   */
  queue(fd: number, { address, port }: Destination, blocks: BlockRun): void {
    const { opcode, first, count, memory, blockBytes, lastBytes } = blocks;
    const slot = this.#nextSlot(fd, address, port);
    const { headWords, vectorWords } = this.#out;
    const vectors = slot * this.#outVectors * 4;
    const heads = (slot * this.#sizes.sendBytes) >>> 2;
    let from = memory;
    for (let index = 0; index < count; index += 1) {
      headWords[heads + index] = swapped((opcode << 16) | ((first + index) & 0xffff));
      const vector = vectors + index * 8;
      vectorWords[vector + 2] = 4;
      vectorWords[vector + 4] = from >>> 0;
      vectorWords[vector + 5] = Math.floor(from / 0x1_0000_0000);
      vectorWords[vector + 6] = index === count - 1 ? lastBytes : blockBytes;
      from += blockBytes;
    }
    this.#shape(slot, count * 2, count > 1 ? blockBytes + 4 : 0);
  }

  /** Queues a datagram of at most `sendBytes`. */
  queueBytes(fd: number, { address, port }: Destination, bytes: Buffer): void {
    const slot = this.#nextSlot(fd, address, port);
    const { sendBytes } = this.#sizes;
    this.#out.vectorWords[slot * this.#outVectors * 4 + 2] = bytes.copy(this.#out.head, slot * sendBytes, 0, sendBytes);
    this.#shape(slot, 1, 0);
  }

  #shape(slot: number, vectors: number, segmentBytes: number): void {
    const { words } = this.#out;
    words[slot * 16 + 6] = vectors;
    words[slot * 16 + 10] = segmentBytes === 0 ? 0 : controlBytes;
    if (segmentBytes === 0) {
      return;
    }
    const at = slot * controlBytes;
    this.#control.writeUInt32LE(18, at);
    this.#control.writeUInt32LE(SOL_UDP, at + 8);
    this.#control.writeUInt32LE(UDP_SEGMENT, at + 12);
    this.#control.writeUInt16LE(segmentBytes, at + 16);
    writePointer(this.#out.headers, slot * mmsghdrBytes + 32, this.#controlAddress + at);
  }

  /** Sends what is queued. @returns errno of the last datagram that could not be sent; 0 when all were */
  flush(fd: number): number {
    let lost = 0;
    let from = 0;
    let hasWaited = false;
    while (from < this.#queued) {
      const rest = from === 0 ? this.#out.headers : this.#out.headers.subarray(from * mmsghdrBytes);
      const sent = sendmmsg(fd, rest, this.#queued - from, MSG_DONTWAIT);
      if (sent > 0) {
        from += sent;
      } else if (koffi.errno() === koffi.os.errno['EAGAIN'] && !hasWaited) {
        hasWaited = true;
        this.#waitWritable(fd);
      } else {
        // Nobody there, or no route: as lost as on the wire, and the others must not wait for it. Or a link that cannot
        // cut up messages: what is lost is repeated, block by block.
        lost = koffi.errno();
        this.#noteSegmentError(lost, from);
        from += 1;
      }
    }
    this.#queued = 0;
    return lost;
  }

  #noteSegmentError(errno: number, slot: number): void {
    const isRun = this.#out.words[slot * 16 + 10] !== 0;
    if (isRun && errno === koffi.os.errno['EMSGSIZE']) {
      if (this.#narrow.size >= maxNarrow) {
        this.#narrow.clear();
      }
      this.#narrow.add(this.#out.names.readUInt32BE(slot * sockaddrBytes + 4));
    } else if (isRun && segmentErrors.has(errno)) {
      this.#canSegment = false;
    }
  }

  #waitWritable(fd: number): void {
    const set = Buffer.alloc(8);
    set.writeInt32LE(fd, 0);
    set.writeInt16LE(POLLOUT, 4);
    poll(set, 1, sendWaitMs);
  }

  #nextSlot(fd: number, address: number, port: number): number {
    if (this.#queued === slots) {
      this.flush(fd);
    }
    const slot = this.#queued;
    const { nameWords } = this.#out;
    nameWords[slot * 4] = AF_INET | (swapped(port) & 0xffff_0000);
    nameWords[slot * 4 + 1] = swapped(address);
    this.#queued += 1;
    return slot;
  }
}

/** Network byte order, for machines with the other one; all that we run on are. */
function swapped(word: number): number {
  return ((word >>> 24) | ((word >>> 8) & 0xff00) | ((word << 8) & 0xff_0000) | (word << 24)) >>> 0;
}

function wordsOf(bytes: Buffer): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

function writePointer(bytes: Buffer, at: number, address: number): void {
  bytes.writeBigUInt64LE(BigInt(address), at);
}
