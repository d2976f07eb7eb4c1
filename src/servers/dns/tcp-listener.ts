/** The same questions over TCP (RFC 7766), for replies that no datagram carries. */
import { createServer, type Socket } from 'node:net';
import { type Ipv4, parseIpv4 } from '../../domain/ipv4.ts';
import type { UdpPeer } from '../../net/udp-endpoint.ts';
import { maxQueryBytes } from './dns-server.ts';
import { Deframer, framed } from './tcp-frames.ts';

const maxConnections = 128;
const maxPerClient = 8;
const idleMs = 10_000;

export interface DnsTcpOptions {
  readonly address: Ipv4;
  readonly port: number;
  /** False ends the connection. */
  readonly onQuery: (data: Buffer, from: UdpPeer, send: (bytes: Buffer) => void) => boolean;
}

/** @throws EADDRINUSE and the like */
export async function listenDnsTcp({ address, port, onQuery }: DnsTcpOptions): Promise<AsyncDisposable> {
  // BOUNDED: maxConnections.
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    const remote = socket.remoteAddress;
    const same = [...open].filter((other) => other.remoteAddress === remote).length;
    if (remote === undefined || same >= maxPerClient) {
      socket.destroy();
      return;
    }
    open.add(socket);
    serve(socket, { address: parseIpv4(remote), port: socket.remotePort ?? 0 }, onQuery);
    socket.on('close', () => open.delete(socket));
  });
  server.maxConnections = maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', reject);
    server.listen(port, address);
  });
  return {
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) {
          socket.destroy();
        }
      }),
  };
}

function serve(socket: Socket, from: UdpPeer, onQuery: DnsTcpOptions['onQuery']): void {
  const frames = new Deframer(maxQueryBytes);
  const send = (bytes: Buffer): void => {
    if (socket.writable) {
      socket.write(framed(bytes));
    }
  };
  socket.setTimeout(idleMs, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    const messages = frames.take(chunk);
    // A client that asks without reading would have its replies pile up here.
    const isGood = messages?.every((message) => socket.writableLength < 65_536 && onQuery(message, from, send));
    if (!isGood) {
      socket.destroy();
    }
  });
}
