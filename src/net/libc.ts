/**
 * The few system calls that Node lacks: a UDP socket bound to one interface (SO_BINDTODEVICE), an advisory lock on a
 * file, and a datagram to a Unix socket. Descriptors are opened here and handed to Node for everything else.
 */
import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { type Ipv4, ipv4Bytes } from '../domain/ipv4.ts';

const libc = koffi.load('libc.so.6');
const socket = libc.func('int socket(int domain, int type, int protocol)');
const setsockopt = libc.func('int setsockopt(int fd, int level, int name, const void *value, unsigned int length)');
const bind = libc.func('int bind(int fd, const void *address, unsigned int length)');
const flock = libc.func('int flock(int fd, int operation)');
const sendto = libc.func('long sendto(int fd, const void *data, size_t length, int flags, const void *address, unsigned int size)');

const AF_UNIX = 1;
const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_BROADCAST = 6;
const SO_BINDTODEVICE = 25;
const LOCK_EX_NB = 2 | 4;

/** A system call's failure with its errno name, in the form of Node's own system errors. */
export class SystemError extends Error {
  override readonly name = 'SystemError';
  readonly code: string;

  constructor(call: string, errno: number) {
    const code = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? String(errno);
    super(`${call}: ${code}`);
    this.code = code;
  }
}

/** Sockets on different interfaces share a port. @throws SystemError, for example EADDRINUSE, ENODEV, EPERM */
export function openUdpDescriptor(interfaceName: string, address: Ipv4, port: number): number {
  const fd = checked('socket', socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  try {
    const one = Buffer.from([1, 0, 0, 0]);
    checked('setsockopt SO_BROADCAST', setsockopt(fd, SOL_SOCKET, SO_BROADCAST, one, one.length));
    const device = Buffer.from(`${interfaceName}\0`, 'latin1');
    checked(`setsockopt SO_BINDTODEVICE ${interfaceName}`, setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, device.length));
    const sockaddr = Buffer.alloc(16);
    sockaddr.writeUInt16LE(AF_INET, 0);
    sockaddr.writeUInt16BE(port, 2);
    ipv4Bytes(address).copy(sockaddr, 4);
    checked(`bind ${address}:${port}`, bind(fd, sockaddr, sockaddr.length));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** True when this process now holds the lock, false when another one does. The kernel drops it with the process. */
export function tryLock(fd: number): boolean {
  if (flock(fd, LOCK_EX_NB) === 0) {
    return true;
  }
  if (koffi.errno() === koffi.os.errno['EAGAIN']) {
    return false;
  }
  throw new SystemError('flock', koffi.errno());
}

/** One datagram to a Unix socket; a leading @ means the abstract name space. @throws SystemError */
export function sendUnixDatagram(path: string, text: string): void {
  const fd = checked('socket', socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  try {
    const name = Buffer.from(path.replace(/^@/, '\0'), 'latin1');
    const sockaddr = Buffer.concat([Buffer.from([AF_UNIX, 0]), name]);
    const data = Buffer.from(text);
    checked(`sendto ${path}`, Number(sendto(fd, data, data.length, 0, sockaddr, sockaddr.length)));
  } finally {
    closeSync(fd);
  }
}

function checked(call: string, result: number): number {
  if (result < 0) {
    throw new SystemError(call, koffi.errno());
  }
  return result;
}
