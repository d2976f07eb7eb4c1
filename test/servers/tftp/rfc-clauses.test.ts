import { describe, expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { TftpErrorCode, type TftpPacket } from '#src/protocol/tftp/packet.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { MemoryNetwork } from '../../support/memory-network.ts';
import { type Heard, type RawTftpClient, rawTftpClient } from '../../support/raw-tftp-client.ts';
import { startTftp, type TestTftp } from '../../support/servers.ts';

const content = (size: number): Buffer => Buffer.from(Array.from({ length: size }, (_, index) => (index * 31 + (index >> 8)) % 251));

/** Files are called by their size; `text` has every kind of line end. */
function start(): { network: MemoryNetwork; tftp: TestTftp; client: RawTftpClient } {
  const network = new MemoryNetwork(new FakeClock());
  const tftp = startTftp(network, (filename) => {
    if (filename === 'text') {
      return { kind: 'found', bytes: Buffer.from('a\nb\rc\r\n') };
    }
    return /^\d+$/.test(filename) ? { kind: 'found', bytes: content(Number(filename)) } : { kind: 'missing', expected: false };
  });
  return { network, tftp, client: rawTftpClient(network) };
}

const packets = (heard: readonly Heard[]): TftpPacket[] => heard.map(({ packet }) => packet);
const blocks = (heard: readonly Heard[]): number[] => packets(heard).map((packet) => (packet.kind === 'data' ? packet.block : -1));
const data = (size: number, block: number, blksize = 512): TftpPacket => ({
  kind: 'data',
  block: block % 65_536,
  data: content(size).subarray((block - 1) * blksize, block * blksize),
});
const error = (code: number): object => expect.objectContaining({ kind: 'error', code });

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

describe('RFC 2347: option extension', () => {
  test('a request without options is answered with DATA 1', async () => {
    const { client } = start();
    expect(packets(await client.read('10'))).toEqual([data(10, 1)]);
  });
  test('options that are known are answered, the others are left out', async () => {
    const { client } = start();
    expect(packets(await client.read('10', { multicast: '', blksize: '600', saveFiles: '1' }))).toEqual([
      { kind: 'oack', options: [{ name: 'blksize', value: '600' }] },
    ]);
  });
  test('a request of which no option is known is answered with DATA 1', async () => {
    const { client } = start();
    expect(packets(await client.read('10', { multicast: '', x: 'y' }))).toEqual([data(10, 1)]);
  });
  test('names of options have no case', async () => {
    const { client } = start();
    const [answer] = packets(await client.read('10', { BlkSize: '600', TSIZE: '0' }));
    const options = answer?.kind === 'oack' ? answer.options.map(({ name, value }) => `${name.toLowerCase()}=${value}`) : [];
    expect(options).toEqual(['blksize=600', 'tsize=10']);
  });
  test('nothing follows the OACK before ACK 0, then DATA 1', async () => {
    const { client } = start();
    await client.read('700', { tsize: '0' });
    expect(await client.ack(1)).toEqual([]);
    expect(packets(await client.ack(0))).toEqual([data(700, 1)]);
    expect(packets(await client.ack(1))).toEqual([data(700, 2)]);
  });
  test('an OACK that is not acknowledged is repeated as it was', async () => {
    const { client } = start();
    const [oack] = packets(await client.read('700', { tsize: '0' }));
    const again = packets(await client.silent(4000));
    expect(again.length).toBeGreaterThan(0);
    expect(again).toEqual(again.map(() => oack));
    expect(packets(await client.ack(0))).toEqual([data(700, 1)]);
  });
  test('a client that will not have them ends the transfer with error 8', async () => {
    const { client, tftp } = start();
    await client.read('700', { blksize: '1024' });
    expect(await client.say({ kind: 'error', code: TftpErrorCode.OptionNegotiation, message: 'no' })).toEqual([]);
    expect(await client.silent(30_000)).toEqual([]);
    expect(tftp.reports.map(({ outcome }) => outcome)).toMatchObject([{ kind: 'stopped', code: TftpErrorCode.OptionNegotiation }]);
  });
});

async function answered(options: Readonly<Record<string, string>>): Promise<Record<string, string>> {
  const [answer] = packets(await start().client.read('5000', options));
  return answer?.kind === 'oack' ? Object.fromEntries(answer.options.map(({ name, value }) => [name, value])) : {};
}

describe('RFC 2348: blocksize', () => {
  test.each(['8', '9', '512', '1024', '1428', '1468'])('%s is agreed to', async (blksize) => {
    expect(await answered({ blksize })).toEqual({ blksize });
  });
  test.each(['1469', '4096', '65464'])('%s is answered with a size that fits a frame and is no larger', async (blksize) => {
    expect(await answered({ blksize })).toEqual({ blksize: '1468' });
  });
  test.each(['0', '1', '7', '-8', '', 'many', '1e3', '0x200'])('"%s" is no block size and is left out', async (blksize) => {
    expect(await answered({ blksize, tsize: '0' })).toEqual({ tsize: '5000' });
  });
  test.each([
    [8, 24, [8, 8, 8, 0]],
    [8, 23, [8, 8, 7]],
    [1468, 2936, [1468, 1468, 0]],
    [1468, 3000, [1468, 1468, 64]],
  ])('blocks of %i: a file of %i bytes', async (blksize, size, lengths) => {
    const { client } = start();
    await client.read(String(size), { blksize: String(blksize) });
    for (let block = 0; block <= lengths.length; block += 1) {
      await client.ack(block);
    }
    expect(packets(client.heard.slice(1))).toEqual(lengths.map((_length, index) => data(size, index + 1, blksize)));
    expect(packets(client.heard.slice(1)).map((packet) => packet.kind === 'data' && packet.data.length)).toEqual(lengths);
  });
});

describe('RFC 2349: timeout interval and transfer size', () => {
  test.each(['1', '7', '255'])('timeout %s is agreed to', async (timeout) => {
    expect(await answered({ timeout })).toEqual({ timeout });
  });
  test.each(['0', '256', '-1', 'soon', ''])('"%s" is no timeout and is left out', async (timeout) => {
    expect(await answered({ timeout, tsize: '0' })).toEqual({ tsize: '5000' });
  });
  test('packets are repeated after the seconds that were agreed', async () => {
    const { client } = start();
    await client.read('5000', { timeout: '3' });
    await client.ack(0);
    const begin = client.heard.at(-1)?.atMs ?? 0;
    const times = (await client.silent(10_000)).map(({ atMs }) => Math.round((atMs - begin) / 1000));
    expect(times).toEqual([3, 6, 9]);
  });
  test('tsize 0 in a read request asks for the size of the file', async () => {
    expect(await answered({ tsize: '0' })).toEqual({ tsize: '5000' });
  });
});

describe('RFC 7440: windowsize', () => {
  const open = async (size: number, windowsize: number, blksize = 512): Promise<ReturnType<typeof start>> => {
    const opened = start();
    const [answer] = packets(await opened.client.read(String(size), { blksize: String(blksize), windowsize: String(windowsize) }));
    expect(answer).toMatchObject({ kind: 'oack', options: expect.arrayContaining([{ name: 'windowsize', value: String(windowsize) }]) });
    return opened;
  };
  test.each(['1', '2', '4', '16', '64'])('section 3: %s is agreed to', async (windowsize) => {
    expect(await answered({ windowsize })).toEqual({ windowsize });
  });
  test('section 3: a larger one is answered with one that is no larger', async () => {
    const { windowsize = '' } = await answered({ windowsize: '65535' });
    expect(Number(windowsize)).toBeGreaterThanOrEqual(1);
    expect(Number(windowsize)).toBeLessThanOrEqual(65_535);
  });
  test.each(['0', '65536', '-4', 'wide', ''])('section 3: "%s" is no window and is left out', async (windowsize) => {
    expect(await answered({ windowsize, tsize: '0' })).toEqual({ tsize: '5000' });
  });
  test('section 3: who does not ask for a window gets one block at a time', async () => {
    const { client } = start();
    await client.read('5000', { blksize: '512' });
    expect(blocks(await client.ack(0))).toEqual([1]);
    expect(blocks(await client.ack(1))).toEqual([2]);
  });
  test('section 4: a window is sent without waiting; the ACK of its last block brings the next one', async () => {
    const { client } = await open(5000, 4);
    expect(packets(await client.ack(0))).toEqual([1, 2, 3, 4].map((block) => data(5000, block)));
    expect(packets(await client.ack(4))).toEqual([5, 6, 7, 8].map((block) => data(5000, block)));
    expect(packets(await client.ack(8))).toEqual([9, 10].map((block) => data(5000, block)));
  });
  test('section 4: an ACK inside the window, for a block was lost, begins the next window right behind it', async () => {
    const { client } = await open(5000, 4);
    await client.ack(0);
    expect(packets(await client.ack(2))).toEqual([3, 4, 5, 6].map((block) => data(5000, block)));
    expect(packets(await client.ack(6))).toEqual([7, 8, 9, 10].map((block) => data(5000, block)));
  });
  test('section 4: copies of that ACK, which the blocks behind the gap bring, do not send the window again', async () => {
    const { client } = await open(5000, 4);
    await client.ack(0);
    await client.ack(2);
    expect(await client.ack(2)).toEqual([]);
    expect(await client.ack(2)).toEqual([]);
    expect(blocks(await client.ack(6))).toEqual([7, 8, 9, 10]);
  });
  test('section 4: an old ACK of a window that is done sends nothing', async () => {
    const { client } = await open(5000, 4);
    await client.ack(0);
    await client.ack(4);
    expect(await client.ack(1)).toEqual([]);
    expect(blocks(await client.ack(8))).toEqual([9, 10]);
  });
  test('section 4: a window that nobody acknowledges is sent again as a whole', async () => {
    const { client } = await open(5000, 3);
    await client.ack(0);
    await client.ack(3);
    const again = blocks(await client.silent(1500));
    expect(again.length).toBeGreaterThan(0);
    expect(again.slice(0, 3)).toEqual([4, 5, 6]);
  });
  test('section 4: the last window is as short as the file wants, and its end may be an empty block', async () => {
    const { client, tftp } = await open(512 * 5, 4);
    await client.ack(0);
    expect(packets(await client.ack(4))).toEqual([data(2560, 5), { kind: 'data', block: 6, data: Buffer.alloc(0) }]);
    expect(await client.ack(6)).toEqual([]);
    expect(tftp.reports.map(({ outcome }) => outcome)).toEqual([{ kind: 'sent', bytes: 2560 }]);
  });
  test('section 4: block numbers go on at 0 after 65535, also inside a window', async () => {
    const { client, tftp } = await open(8 * 65_540, 50, 8);
    for (let block = 0; block < 65_500; block += 50) {
      await client.ack(block);
    }
    expect(blocks(await client.ack(65_500))).toEqual([...Array.from({ length: 35 }, (_value, index) => 65_501 + index), 0, 1, 2, 3, 4, 5]);
    expect(await client.ack(5)).toEqual([]);
    expect(tftp.reports.map(({ outcome }) => outcome)).toEqual([{ kind: 'sent', bytes: 8 * 65_540 }]);
  });
});
