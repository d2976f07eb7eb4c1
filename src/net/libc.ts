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
/** linux/filter.h: a program for the kernel's packet filter. */
const socketFilter = koffi.struct('sock_fprog', { len: 'unsigned short', filter: 'const void *' });
const setFilter = libc.func('setsockopt', 'int', ['int', 'int', 'int', koffi.pointer(socketFilter), 'unsigned int']);
const recvfrom = libc.func('long recvfrom(int fd, void *data, size_t length, int flags, void *address, _Inout_ unsigned int *size)');
const recv = libc.func('long recv(int fd, void *data, size_t length, int flags)');
const sendto = libc.func('long sendto(int fd, const void *data, size_t length, int flags, const void *address, unsigned int size)');

const AF_UNIX = 1;
const AF_INET = 2;
const AF_PACKET = 17;
const ETH_P_IP = 0x0800;
const ETH_P_ARP = 0x0806;
export const ETH_P_IPV6 = 0x86dd;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_BROADCAST = 6;
const SO_BINDTODEVICE = 25;
const SO_RCVBUFFORCE = 33;
const SO_ATTACH_FILTER = 26;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_MR_PROMISC = 1;
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

/** Beyond the system's limit, where we may; else nothing happens: a small buffer still works. */
export function forceReceiveBuffer(fd: number, bytes: number): void {
  const value = Buffer.alloc(4);
  value.writeInt32LE(bytes);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, value, value.length);
}

/** In place of an EtherType: a descriptor that only sends (packet(7)). */
export const hearsNothing = 0;
export type EtherType = typeof ETH_P_IP | typeof ETH_P_ARP | typeof ETH_P_IPV6;

/** Hears every packet of a kind that reaches an interface, whatever its destination address is. @throws SystemError */
export function openPacketDescriptor(interfaceIndex: number, etherType: EtherType | typeof hearsNothing = ETH_P_IP): number {
  const protocol = ((etherType & 0xff) << 8) | (etherType >> 8);
  const fd = checked('socket AF_PACKET', socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
  const sockaddr = linkAddress(interfaceIndex, etherType);
  try {
    checked(`bind to interface ${interfaceIndex}`, bind(fd, sockaddr, sockaddr.length));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Instructions of linux/filter.h: code, jump if true, jump if false, operand. What is left out never reaches the descriptor. */
export type PacketFilter = readonly (readonly [number, number, number, number])[];

/** @throws SystemError */
export function setPacketFilter(fd: number, program: PacketFilter): void {
  const code = Buffer.alloc(program.length * 8);
  for (const [index, [operation, whenTrue, whenFalse, operand]] of program.entries()) {
    code.writeUInt16LE(operation, index * 8);
    code.writeUInt8(whenTrue, index * 8 + 2);
    code.writeUInt8(whenFalse, index * 8 + 3);
    code.writeUInt32LE(operand, index * 8 + 4);
  }
  const value = { len: program.length, filter: code };
  checked('setsockopt SO_ATTACH_FILTER', setFilter(fd, SOL_SOCKET, SO_ATTACH_FILTER, value, koffi.sizeof(socketFilter)));
}

function linkAddress(interfaceIndex: number, etherType: EtherType | typeof hearsNothing): Buffer {
  const sockaddr = Buffer.alloc(20);
  sockaddr.writeUInt16LE(AF_PACKET, 0);
  sockaddr.writeUInt16BE(etherType, 2);
  sockaddr.writeInt32LE(interfaceIndex, 4);
  return sockaddr;
}

export interface LinkPacket {
  readonly interfaceIndex: number;
  readonly etherType: EtherType;
  /** Six bytes; all stations on the link when absent. */
  readonly to?: Buffer;
  /** Without its Ethernet header, which the kernel writes. */
  readonly packet: Buffer;
}

/** @throws SystemError */
export function sendLinkPacket(fd: number, { interfaceIndex, etherType, to = everybody, packet }: LinkPacket): void {
  const sockaddr = linkAddress(interfaceIndex, etherType);
  sockaddr[11] = to.length;
  to.copy(sockaddr, 12);
  checked('sendto AF_PACKET', Number(sendto(fd, packet, packet.length, 0, sockaddr, sockaddr.length)));
}

const everybody = Buffer.alloc(6, 0xff);

/** The next packet, or undefined when none waits. @throws SystemError */
export function receivePacket(fd: number, buffer: Buffer): Buffer | undefined {
  const length = Number(recv(fd, buffer, buffer.length, 0));
  if (length >= 0) {
    return Buffer.from(buffer.subarray(0, length));
  }
  if (koffi.errno() === koffi.os.errno['EAGAIN']) {
    return undefined;
  }
  throw new SystemError('recv', koffi.errno());
}

/**
 * Hears the UDP packets to one port that reach an interface, whatever MAC they are sent to (promiscuous mode, for as long
 * as the descriptor is open); the kernel leaves all others out. @throws SystemError
 */
export function openUdpFrameDescriptor(interfaceIndex: number, port: number): number {
  const fd = openPacketDescriptor(interfaceIndex);
  try {
    setPacketFilter(fd, udpPortFilter(port));
    // struct packet_mreq
    const membership = Buffer.alloc(16);
    membership.writeInt32LE(interfaceIndex, 0);
    membership.writeUInt16LE(PACKET_MR_PROMISC, 4);
    checked('setsockopt PACKET_ADD_MEMBERSHIP', setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership, membership.length));
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** For a packet that begins with its IPv4 header: UDP to this port, no later fragment. */
export function udpPortFilter(port: number): PacketFilter {
  return [
    [0x30, 0, 0, 9], // protocol
    [0x15, 0, 6, 17], // is UDP?
    [0x28, 0, 0, 6], // fragment offset
    [0x45, 4, 0, 0x1fff], // is a later fragment?
    [0xb1, 0, 0, 0], // length of the IP header
    [0x48, 0, 0, 2], // destination port
    [0x15, 0, 1, port],
    [0x06, 0, 0, 0xffff], // take it
    [0x06, 0, 0, 0], // leave it
  ];
}

/** The next packet and the hardware address of its sender, or undefined when none waits. @throws SystemError */
export function receiveFrame(fd: number, buffer: Buffer): { readonly packet: Buffer; readonly hardwareAddress: Buffer } | undefined {
  const sockaddr = Buffer.alloc(20);
  const length = Number(recvfrom(fd, buffer, buffer.length, 0, sockaddr, [sockaddr.length]));
  if (length >= 0) {
    // struct sockaddr_ll: the length of the hardware address, then the address.
    const hardwareAddress = sockaddr.subarray(12, 12 + sockaddr.readUInt8(11));
    return { packet: Buffer.from(buffer.subarray(0, length)), hardwareAddress };
  }
  if (koffi.errno() === koffi.os.errno['EAGAIN']) {
    return undefined;
  }
  throw new SystemError('recvfrom', koffi.errno());
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
