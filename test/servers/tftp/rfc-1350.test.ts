import { describe, expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { TftpErrorCode } from '#src/protocol/tftp/packet.ts';
import { rawTftpClient } from '../../support/raw-tftp-client.ts';
import { blocks, data, error, packets, start } from '../../support/tftp-clauses.ts';

describe('RFC 1350 section 4: the initial connection protocol', () => {
  test('the server answers a request from a port of its own choice, not from 69', async () => {
    const { client } = start();
    const [first] = await client.read('600');
    expect(first?.packet).toEqual(data(600, 1));
    expect(first?.port).not.toBe(69);
  });
  test('the port stays the same for the whole transfer', async () => {
    const { client } = start();
    await client.read('1500');
    await client.ack(1);
    await client.ack(2);
    expect(new Set(client.heard.map(({ port }) => port)).size).toBe(1);
    expect(blocks(client.heard)).toEqual([1, 2, 3]);
  });
  test('two transfers of one client go side by side', async () => {
    const { network, client } = start();
    const other = rawTftpClient(network, undefined, 49_153);
    await client.read('1500');
    await other.read('2000');
    expect(packets(await client.ack(1))).toEqual([data(1500, 2)]);
    expect(packets(await other.ack(1))).toEqual([data(2000, 2)]);
  });
  test('a packet from elsewhere is told error 5 and does not disturb the transfer', async () => {
    const { network, client } = start();
    await client.read('1500');
    // Another address with the same port, and another port of the same address.
    for (const stranger of [rawTftpClient(network, parseIpv4('10.77.0.66')), rawTftpClient(network, undefined, 50_000)]) {
      expect(packets(await stranger.sayTo(client.peer(), { kind: 'ack', block: 1 }))).toEqual([error(TftpErrorCode.UnknownTransferId)]);
      expect(await stranger.sayTo(client.peer(), { kind: 'error', code: 0, message: 'stop' })).toEqual([]);
    }
    expect(packets(await client.ack(1))).toEqual([data(1500, 2)]);
  });
});

describe('RFC 1350 section 5: TFTP packets', () => {
  test.each(['octet', 'OCTET', 'oCtEt'])('the mode is read without case: %s', async (mode) => {
    const { client } = start();
    expect(packets(await client.read('10', {}, mode))).toEqual([data(10, 1)]);
  });
  test('netascii: a line ends with CR LF, a CR alone is CR NUL (RFC 764)', async () => {
    const { client } = start();
    expect(packets(await client.read('text', {}, 'netascii'))).toEqual([
      { kind: 'data', block: 1, data: Buffer.from('a\r\nb\r\0c\r\0\r\n') },
    ]);
  });
  test('mail, which is obsolete, is error 4', async () => {
    const { client } = start();
    expect(packets(await client.read('10', {}, 'mail'))).toEqual([error(TftpErrorCode.IllegalOperation)]);
  });
  test('blocks are numbered from one, and each is sent when the one before it is acknowledged', async () => {
    const { client } = start();
    expect(packets(await client.read('1200'))).toEqual([data(1200, 1)]);
    expect(packets(await client.ack(1))).toEqual([data(1200, 2)]);
    expect(packets(await client.ack(2))).toEqual([data(1200, 3)]);
    expect(await client.ack(3)).toEqual([]);
  });
  test.each([0, 2, 500, 65_535])('an acknowledgement of block %i, which is not the one under way, sends nothing', async (block) => {
    const { client } = start();
    await client.read('1200');
    expect(await client.ack(block)).toEqual([]);
    expect(packets(await client.ack(1))).toEqual([data(1200, 2)]);
  });
  test('a write request is refused with error 2', async () => {
    const { client } = start();
    expect(packets(await client.sayTo(69, { kind: 'wrq', filename: '10', mode: 'octet', options: [] }))).toEqual([
      error(TftpErrorCode.AccessViolation),
    ]);
  });
  test('what is neither ACK nor ERROR in the middle of a transfer is error 4 and ends it', async () => {
    const { client } = start();
    await client.read('1200');
    expect(packets(await client.say({ kind: 'data', block: 1, data: Buffer.alloc(3) }))).toEqual([error(TftpErrorCode.IllegalOperation)]);
    expect(await client.silent(10_000)).toEqual([]);
  });
});

describe('RFC 1350 section 6: normal termination', () => {
  test.each([
    [0, [0]],
    [1, [1]],
    [511, [511]],
    [512, [512, 0]],
    [513, [512, 1]],
    [1024, [512, 512, 0]],
  ])('%i bytes end with a block of less than 512', async (size, lengths) => {
    const { client, tftp } = start();
    await client.read(String(size));
    for (let block = 1; block <= lengths.length; block += 1) {
      await client.ack(block);
    }
    expect(packets(client.heard).map((packet) => packet.kind === 'data' && packet.data.length)).toEqual(lengths);
    expect(tftp.reports.map(({ outcome }) => outcome)).toEqual([{ kind: 'sent', bytes: size }]);
    expect(await client.silent(30_000)).toEqual([]);
  });
  test('the last block is repeated until it is acknowledged', async () => {
    const { client, tftp } = start();
    await client.read('100');
    const again = await client.silent(5000);
    expect(packets(again)).toEqual(again.map(() => data(100, 1)));
    expect(again.length).toBeGreaterThan(0);
    expect(tftp.reports).toEqual([]);
    await client.ack(1);
    expect(tftp.reports).toHaveLength(1);
  });
});

describe('RFC 1350 section 7: premature termination', () => {
  test('a missing file is error 1, sent once', async () => {
    const { client } = start();
    expect(packets(await client.read('nothing'))).toEqual([error(TftpErrorCode.FileNotFound)]);
    expect(await client.silent(30_000)).toEqual([]);
  });
  test('an ERROR ends the transfer at once and is not answered', async () => {
    const { client, tftp } = start();
    await client.read('1200');
    expect(await client.say({ kind: 'error', code: TftpErrorCode.DiskFull, message: 'full' })).toEqual([]);
    expect(await client.silent(30_000)).toEqual([]);
    expect(tftp.reports.map(({ outcome }) => outcome)).toMatchObject([{ kind: 'stopped', code: TftpErrorCode.DiskFull }]);
  });
  test('a client that says nothing any more is given up', async () => {
    const { client, tftp } = start();
    await client.read('1200');
    await client.silent(120_000);
    expect(tftp.reports.map(({ outcome }) => outcome)).toEqual([{ kind: 'timed-out', block: 1 }]);
    expect(await client.silent(120_000)).toEqual([]);
  });
});

describe('RFC 1123 section 4.2.3: what RFC 1350 left open', () => {
  test('4.2.3.1: a repeated ACK is never answered with another copy of the block', async () => {
    const { client } = start();
    await client.read('5000');
    await client.ack(1);
    expect(await client.ack(1)).toEqual([]);
    expect(await client.ack(1)).toEqual([]);
    expect(packets(await client.ack(2))).toEqual([data(5000, 3)]);
  });
  test('4.2.3.2: the time between repetitions grows', async () => {
    const { client } = start();
    await client.read('5000');
    const times = (await client.silent(20_000)).map(({ atMs }) => atMs);
    const gaps = times.slice(1).map((at, index) => at - (times[index] ?? 0));
    expect(gaps.length).toBeGreaterThan(1);
    expect(gaps).toEqual(gaps.toSorted((a, b) => a - b));
    expect(gaps.at(-1)).toBeGreaterThan(gaps[0] ?? 0);
  });
});
