/**
 * Whole Ethernet frames on one interface (packet(7)), many with each system call: what a user-space network stack needs.
 * Node cannot watch such a descriptor, so the owner asks, and waits with `wait` when there is nothing.
 */
import { closeSync, readFileSync } from 'node:fs';
import koffi from 'koffi';
import { UserError } from '../domain/errors.ts';
import { SystemError } from './libc.ts';

const libc = koffi.load('libc.so.6');
const socket = libc.func('int socket(int domain, int type, int protocol)');
const setsockopt = libc.func('int setsockopt(int fd, int level, int name, const void *value, unsigned int length)');
const bind = libc.func('int bind(int fd, const void *address, unsigned int length)');
const recvmmsg = libc.func('int recvmmsg(int fd, void *messages, unsigned int count, int flags, void *timeout)');
const sendmmsg = libc.func('int sendmmsg(int fd, void *messages, unsigned int count, int flags)');
const ppoll = libc.func('int ppoll(void *fds, unsigned long count, const void *timeout, const void *mask)');

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const ETH_P_ALL_BE = 0x0300;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_MR_PROMISC = 1;
const PACKET_IGNORE_OUTGOING = 23;
const POLLIN = 1;

const receiveSlots = 64;
/** The kernel hands over what it has merged (GRO, TSO): more than an MTU at once. */
const receiveBytes = 66_000;
const sendSlots = 64;
const sendBytes = 2048;
const receiveBufferBytes = 32 * 2 ** 20;
/** sizeof(struct mmsghdr) and sizeof(struct iovec) on 64-bit Linux. */
const messageBytes = 64;
const vectorBytes = 16;

export interface PacketSocket {
  /** Hands over at most `maxFrames` frames that wait. A frame is only good until `onFrame` returns. */
  receive(maxFrames: number, onFrame: (frame: Buffer) => void): number;
  /** Room for one frame of up to 2048 bytes; `commit` says how much of it was used. */
  room(): Buffer;
  commit(length: number): void;
  /** Sends what was committed. */
  flush(): void;
  /** Returns when a frame waits, at the latest after `ms`. Nothing else of this thread runs meanwhile. */
  wait(ms: number): void;
  /** Returns after `ms`, whatever waits. */
  sleep(ms: number): void;
  close(): void;
}

/** @throws UserError not-found, SystemError (EPERM without root) */
export function openPacketSocket(interfaceName: string): PacketSocket {
  const fd = openDescriptor(interfaceName);
  const incoming = messageArray(receiveSlots, receiveBytes);
  const outgoing = messageArray(sendSlots, sendBytes);
  const pollFd = Buffer.alloc(8);
  pollFd.writeInt32LE(fd, 0);
  pollFd.writeInt16LE(POLLIN, 4);
  const timeout = Buffer.alloc(16);
  let pending = 0;
  const poll = (descriptors: number, ms: number): void => {
    timeout.writeBigInt64LE(BigInt(Math.floor(ms / 1000)), 0);
    timeout.writeBigInt64LE(BigInt(Math.floor((ms % 1000) * 1e6)), 8);
    ppoll(pollFd, descriptors, timeout, null);
  };
  const flush = (): void => {
    for (let sent = 0; sent < pending; ) {
      const done = sendmmsg(fd, outgoing.messages.subarray(sent * messageBytes), pending - sent, 0);
      // A full queue or an interface that is down loses frames, as a wire does.
      sent += done > 0 ? done : 1;
    }
    pending = 0;
  };
  return {
    receive: (maxFrames, onFrame) => {
      const count = recvmmsg(fd, incoming.messages, Math.min(maxFrames, receiveSlots), 0, null);
      if (count < 0) {
        return orThrow('recvmmsg');
      }
      for (let index = 0; index < count; index += 1) {
        onFrame(incoming.frame(index, incoming.messages.readUInt32LE(index * messageBytes + 56)));
      }
      return count;
    },
    room: () => {
      if (pending === sendSlots) {
        flush();
      }
      return outgoing.frame(pending, sendBytes);
    },
    commit: (length) => {
      outgoing.setLength(pending, length);
      pending += 1;
    },
    flush,
    wait: (ms) => poll(1, ms),
    sleep: (ms) => poll(0, ms),
    close: () => closeSync(fd),
  };
}

function openDescriptor(interfaceName: string): number {
  const fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    throw new SystemError('socket AF_PACKET', koffi.errno());
  }
  try {
    const index = interfaceIndex(interfaceName);
    const set = (level: number, name: number, value: Buffer): void => {
      if (setsockopt(fd, level, name, value, value.length) < 0) {
        throw new SystemError(`setsockopt ${name}`, koffi.errno());
      }
    };
    set(SOL_SOCKET, SO_RCVBUFFORCE, int32(receiveBufferBytes));
    set(SOL_PACKET, PACKET_IGNORE_OUTGOING, int32(1));
    const membership = Buffer.alloc(16);
    membership.writeInt32LE(index, 0);
    membership.writeUInt16LE(PACKET_MR_PROMISC, 4);
    set(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership);
    const address = Buffer.alloc(20);
    address.writeUInt16LE(AF_PACKET, 0);
    address.writeUInt16LE(ETH_P_ALL_BE, 2);
    address.writeInt32LE(index, 4);
    if (bind(fd, address, address.length) < 0) {
      throw new SystemError(`bind to ${interfaceName}`, koffi.errno());
    }
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function interfaceIndex(name: string): number {
  try {
    return Number(readFileSync(`/sys/class/net/${name}/ifindex`, 'utf8'));
  } catch (error) {
    throw new UserError('not-found', `There is no network interface "${name}" here`, { cause: error, hint: 'ip link shows them' });
  }
}

function orThrow(call: string): 0 {
  const errno = koffi.errno();
  const { EAGAIN, EINTR, ENETDOWN } = koffi.os.errno;
  if (errno === EAGAIN || errno === EINTR || errno === ENETDOWN) {
    return 0;
  }
  throw new SystemError(call, errno);
}

interface MessageArray {
  /** struct mmsghdr, one after another; msg_len is at 56. */
  readonly messages: Buffer;
  frame(index: number, length: number): Buffer;
  setLength(index: number, length: number): void;
}

function messageArray(count: number, slotBytes: number): MessageArray {
  const messages = Buffer.alloc(count * messageBytes);
  // At least a page each: small ones may lie where the garbage collector moves things.
  const vectors = Buffer.alloc(Math.max(8192, count * vectorBytes));
  const data = Buffer.alloc(count * slotBytes);
  const vectorsAt = koffi.address(vectors);
  const dataAt = koffi.address(data);
  for (let index = 0; index < count; index += 1) {
    vectors.writeBigUInt64LE(dataAt + BigInt(index * slotBytes), index * vectorBytes);
    vectors.writeBigUInt64LE(BigInt(slotBytes), index * vectorBytes + 8);
    messages.writeBigUInt64LE(vectorsAt + BigInt(index * vectorBytes), index * messageBytes + 16);
    messages.writeBigUInt64LE(1n, index * messageBytes + 24);
  }
  return {
    messages,
    frame: (index, length) => data.subarray(index * slotBytes, index * slotBytes + length),
    setLength: (index, length) => {
      vectors.writeUInt32LE(length, index * vectorBytes + 8);
    },
  };
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}
