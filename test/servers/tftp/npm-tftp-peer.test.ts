import { createSocket } from 'node:dgram';
import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { systemClock } from '#src/daemon/system-clock.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { openUdpDescriptor } from '#src/net/libc.ts';
import type { UdpEndpoint, UdpPeer } from '#src/net/udp-endpoint.ts';
import type { DataPath } from '#src/servers/tftp/data-path.ts';
import { DataThreads } from '#src/servers/tftp/data-threads.ts';
import { DatagramPath } from '#src/servers/tftp/datagram-path.ts';
import { TftpServer } from '#src/servers/tftp/tftp-server.ts';

/** The client of the npm package `tftp`: a peer that nobody here wrote. */
interface Peer {
  createClient(options: object): { createGetStream(file: string): NodeJS.ReadableStream };
}
const peer = createRequire(import.meta.url)('tftp') as Peer;
const loopback = parseIpv4('127.0.0.1');
const content = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 13) % 256));

/** A plain socket on loopback, so that this needs no privilege. */
async function openLoopback(onMessage: (data: Buffer, from: UdpPeer) => void): Promise<UdpEndpoint> {
  const socket = createSocket('udp4');
  socket.on('message', (data, from) => onMessage(data, { address: parseIpv4(from.address), port: from.port }));
  await new Promise<void>((resolve) => socket.bind(0, loopback, resolve));
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= new Promise((resolve) => socket.close(() => resolve()));
    return closing;
  };
  return { port: socket.address().port, send: (data, to) => socket.send(data, to.port, to.address), close, [Symbol.asyncDispose]: close };
}

type Path = 'datagrams' | 'threads';

async function startServer(kind: Path): Promise<AsyncDisposable & { port: number }> {
  await using stack = new AsyncDisposableStack();
  const server = new TftpServer({
    clock: systemClock,
    read: (filename) =>
      Promise.resolve(filename === 'kernel' ? { kind: 'found', bytes: content, pace: 'tool' } : { kind: 'missing', expected: false }),
    dataPath: kind === 'threads' ? threadsPath(stack) : await datagramPath(stack),
    report: () => {},
    onBadPacket: () => {},
    onFailure: () => {},
    maxTransfers: 4,
    maxTransfersPerClient: 4,
  });
  stack.defer(() => server.close());
  const main: UdpEndpoint = stack.use(await openLoopback((data, from) => server.receive(data, from, main.send)));
  const open = stack.move();
  return { port: main.port, [Symbol.asyncDispose]: () => open.disposeAsync() };
}

function threadsPath(stack: AsyncDisposableStack): DataPath {
  return stack.use(new DataThreads(2)).path(() => openUdpDescriptor('lo', loopback, 0));
}

/** Sockets are opened ahead, as the path wants one at once: one for each transfer of the test. */
async function datagramPath(stack: AsyncDisposableStack): Promise<DataPath> {
  const handlers: ((data: Buffer, from: UdpPeer) => void)[] = [];
  const spare = await Promise.all(
    Array.from({ length: 4 }, async (_, index) => stack.use(await openLoopback((data, from) => handlers[index]?.(data, from)))),
  );
  return new DatagramPath({
    clock: systemClock,
    openEndpoint: (_peer, onMessage) => {
      const endpoint = spare[handlers.push(onMessage) - 1];
      if (!endpoint) {
        throw new Error('no socket is left');
      }
      return endpoint;
    },
    onBadPacket: () => {},
  });
}

function get(port: number, file: string, options: object): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    const stream = peer.createClient({ host: '127.0.0.1', port, ...options }).createGetStream(file);
    stream.on('error', reject);
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('end', () => resolve(Buffer.concat(parts)));
  });
}

describe.each<Path>(['datagrams', 'threads'])('the npm tftp client against our server, data path: %s', (kind) => {
  test.each([
    [512, 1],
    [1024, 1],
    [1468, 1],
    [4096, 1],
    [512, 4],
    [1468, 16],
    [1468, 64],
  ])('blksize %i, windowsize %i', async (blockSize, windowSize) => {
    await using server = await startServer(kind);
    expect((await get(server.port, 'kernel', { blockSize, windowSize })).equals(content)).toBe(true);
  });
  test('a missing file is its error 1', async () => {
    await using server = await startServer(kind);
    await expect(get(server.port, 'nothing', {})).rejects.toThrow('(Server) File not found');
  });
});
