import { createSocket, type Socket } from 'node:dgram';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { systemClock } from '#src/daemon/system-clock.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { openUdpDescriptor } from '#src/net/libc.ts';
import { openUdpEndpoint } from '#src/net/udp-endpoint.ts';
import type { Pace, TransferOutcome } from '#src/policy/tftp-transfer.ts';
import { decodeTftp, encodeTftp, TftpErrorCode, type TftpPacket } from '#src/protocol/tftp/packet.ts';
import type { DataPath, OpenTransfer } from '#src/servers/tftp/data-path.ts';
import { DataThreads } from '#src/servers/tftp/data-threads.ts';
import { DatagramPath } from '#src/servers/tftp/datagram-path.ts';

const loopback = parseIpv4('127.0.0.1');
const content = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 31 + (index >> 8)) % 256));

const paths: Readonly<Record<string, (stack: AsyncDisposableStack) => DataPath>> = {
  'sockets of Node': () =>
    new DatagramPath({
      clock: systemClock,
      openEndpoint: (_peer, onMessage) =>
        openUdpEndpoint({ interfaceName: 'lo', address: loopback, port: 0, onMessage, onError: () => {} }),
      onBadPacket: () => {},
    }),
  'threads of their own': (stack) => stack.use(new DataThreads(2)).path(() => openUdpDescriptor('lo', loopback, 0)),
};

/** A client that keeps what it hears, and answers when told. */
class Client implements AsyncDisposable {
  readonly heard: { packet: TftpPacket; port: number }[] = [];
  readonly #socket: Socket = createSocket('udp4');

  async open(): Promise<this> {
    this.#socket.on('message', (data, from) => this.heard.push({ packet: decodeTftp(data), port: from.port }));
    await new Promise<void>((resolve) => this.#socket.bind(0, loopback, resolve));
    return this;
  }

  get port(): number {
    return this.#socket.address().port;
  }

  send(packet: TftpPacket, port: number): void {
    this.#socket.send(encodeTftp(packet), port, loopback);
  }

  async until(count: number): Promise<void> {
    for (let tries = 0; this.heard.length < count && tries < 1000; tries += 1) {
      await sleep(5);
    }
    expect(this.heard.length).toBeGreaterThanOrEqual(count);
  }

  get blocks(): (number | string)[] {
    return this.heard.map(({ packet }) => (packet.kind === 'data' ? packet.block : packet.kind));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return new Promise((resolve) => this.#socket.close(() => resolve()));
  }
}

interface Lab extends AsyncDisposable {
  readonly client: Client;
  readonly outcomes: TransferOutcome[];
  start(options: [string, string][], bytes?: Buffer, pace?: Pace): OpenTransfer;
  client2(): Promise<Client>;
}

async function lab(kind: string): Promise<Lab> {
  await using stack = new AsyncDisposableStack();
  const path = paths[kind]?.(stack);
  if (!path) {
    throw new Error(`no path ${kind}`);
  }
  stack.defer(() => path.close());
  const client = stack.use(await new Client().open());
  const outcomes: TransferOutcome[] = [];
  const open = stack.move();
  return {
    client,
    outcomes,
    start: (options, bytes = content, pace = 'tool') => {
      const asked = options.map(([name, value]) => ({ name, value }));
      return path.open({ peer: { address: loopback, port: client.port }, bytes, asked, pace, onEnd: (outcome) => outcomes.push(outcome) });
    },
    client2: async () => open.use(await new Client().open()),
    [Symbol.asyncDispose]: () => open.disposeAsync(),
  };
}

describe.each(Object.keys(paths))('data path: %s', (kind) => {
  test('windows: a gap is told by its ACK, and every byte arrives', async () => {
    await using t = await lab(kind);
    const { client } = t;
    t.start([
      ['blksize', '1000'],
      ['windowsize', '8'],
    ]);
    await client.until(1);
    const port = client.heard[0]?.port ?? 0;
    client.send({ kind: 'ack', block: 0 }, port);
    await client.until(9);
    client.send({ kind: 'ack', block: 3 }, port);
    await client.until(17);
    expect(client.blocks.slice(9, 17)).toEqual([4, 5, 6, 7, 8, 9, 10, 11]);
    for (let acked = 11; acked < 101; acked += 8) {
      client.send({ kind: 'ack', block: acked }, port);
      await client.until(client.heard.length + Math.min(8, 101 - acked));
    }
    client.send({ kind: 'ack', block: 101 }, port);
    await expect.poll(() => t.outcomes).toEqual([{ kind: 'sent', bytes: content.length }]);
    const blocks = new Map(client.heard.flatMap(({ packet }) => (packet.kind === 'data' ? [[packet.block, packet.data] as const] : [])));
    expect(blocks.size).toBe(101);
    expect(Buffer.concat([...blocks].toSorted(([a], [b]) => a - b).map(([, data]) => data)).equals(content)).toBe(true);
  });

  test('an empty file is one empty block', async () => {
    await using t = await lab(kind);
    t.start([], Buffer.alloc(0));
    await t.client.until(1);
    expect(t.client.heard[0]?.packet).toEqual({ kind: 'data', block: 1, data: Buffer.alloc(0) });
  });

  test('an ERROR before the first block is acknowledged is a probe, and nothing follows it', async () => {
    await using t = await lab(kind);
    t.start([['tsize', '0']]);
    await t.client.until(1);
    t.client.send({ kind: 'error', code: 0, message: 'Early terminate' }, t.client.heard[0]?.port ?? 0);
    await expect.poll(() => t.outcomes).toEqual([{ kind: 'stopped', code: 0, message: 'Early terminate', probe: true }]);
    expect(t.client.heard).toHaveLength(1);
  });

  test('DATA from a reader is error 4 and the end', async () => {
    await using t = await lab(kind);
    t.start([['tsize', '0']]);
    await t.client.until(1);
    t.client.send({ kind: 'data', block: 1, data: Buffer.from('x') }, t.client.heard[0]?.port ?? 0);
    await t.client.until(2);
    expect(t.client.heard[1]?.packet).toMatchObject({ kind: 'error', code: TftpErrorCode.IllegalOperation });
    await expect.poll(() => t.outcomes).toMatchObject([{ kind: 'stopped', code: TftpErrorCode.IllegalOperation }]);
  });

  test('RFC 1350 section 4: a stranger is told so, and can neither advance nor end the transfer', async () => {
    await using t = await lab(kind);
    t.start([]);
    await t.client.until(1);
    const port = t.client.heard[0]?.port ?? 0;
    const stranger = await t.client2();
    stranger.send({ kind: 'error', code: 0, message: 'stop' }, port);
    stranger.send({ kind: 'ack', block: 1 }, port);
    await stranger.until(1);
    expect(stranger.heard.map(({ packet }) => packet)).toMatchObject([{ kind: 'error', code: TftpErrorCode.UnknownTransferId }]);
    t.client.send({ kind: 'ack', block: 1 }, port);
    await t.client.until(2);
    expect(t.client.blocks).toEqual([1, 2]);
  });

  test('silence: the packet again, for firmware not within a second', async () => {
    await using t = await lab(kind);
    const startedAt = performance.now();
    t.start([], content, 'firmware');
    await t.client.until(2);
    expect(t.client.blocks).toEqual([1, 1]);
    expect(performance.now() - startedAt).toBeGreaterThan(950);
  });

  test('the same request again, after the first block: it begins anew only when it was quiet for a second', async () => {
    await using t = await lab(kind);
    const open = t.start([]);
    await t.client.until(1);
    t.client.send({ kind: 'ack', block: 1 }, t.client.heard[0]?.port ?? 0);
    await t.client.until(2);
    open.again();
    await sleep(1200);
    expect(t.outcomes).toEqual([]);
    open.again();
    await expect.poll(() => t.outcomes).toEqual([{ kind: 'restarted' }]);
  });

  test('stopped from our side: no packet more, and no outcome', async () => {
    await using t = await lab(kind);
    const open = t.start([]);
    await t.client.until(1);
    open.stop();
    await sleep(100);
    const before = t.client.heard.length;
    await sleep(1100);
    expect(t.client.heard).toHaveLength(before);
    expect(t.outcomes).toEqual([]);
  });
});
