import { createSocket } from 'node:dgram';
import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { systemClock } from '#src/daemon/system-clock.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import type { UdpEndpoint, UdpPeer } from '#src/net/udp-endpoint.ts';
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
  const close = (): Promise<void> => new Promise((resolve) => socket.close(() => resolve()));
  return { port: socket.address().port, send: (data, to) => socket.send(data, to.port, to.address), close, [Symbol.asyncDispose]: close };
}

async function startServer(): Promise<AsyncDisposable & { port: number }> {
  // Opened ahead, as the server wants a socket at once: one for each transfer of the test.
  let handlers: ((data: Buffer, from: UdpPeer) => void)[] = [];
  const spare = await Promise.all(
    Array.from({ length: 4 }, async (_, index) => await openLoopback((data, from) => handlers[index]?.(data, from))),
  );
  let used = 0;
  const server = new TftpServer({
    clock: systemClock,
    read: (filename) => Promise.resolve(filename === 'kernel' ? { kind: 'found', bytes: content } : { kind: 'missing', expected: false }),
    openEndpoint: (onMessage) => {
      handlers = [...handlers, onMessage];
      const endpoint = spare[used];
      used += 1;
      if (!endpoint) {
        throw new Error('no socket is left');
      }
      return endpoint;
    },
    report: () => {},
    onBadPacket: () => {},
    onFailure: () => {},
    maxTransfers: 4,
    maxTransfersPerClient: 4,
  });
  const main: UdpEndpoint = await openLoopback((data, from) => server.receive(data, from, main.send));
  return {
    port: main.port,
    [Symbol.asyncDispose]: async () => {
      await server.close();
      await main.close();
      await Promise.all(spare.slice(used).map((endpoint) => endpoint.close()));
    },
  };
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

describe('the npm tftp client against our server', () => {
  test.each([512, 1024, 1468, 4096])('blksize %i', async (blockSize) => {
    await using server = await startServer();
    expect((await get(server.port, 'kernel', { blockSize, windowSize: 1 })).equals(content)).toBe(true);
  });
  test('a missing file is its error 1', async () => {
    await using server = await startServer();
    await expect(get(server.port, 'nothing', {})).rejects.toThrow('(Server) File not found');
  });
});
