import { describe, expect, test } from 'vitest';
import { TftpErrorCode } from '#src/protocol/tftp/packet.ts';
import { blocks, data, packets, start } from '../../support/tftp-clauses.ts';

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
