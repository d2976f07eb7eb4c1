import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { type DhcpMessage, decodeDhcp, encodeDhcp } from '#src/protocol/dhcp/message.ts';
import { capture } from '../../support/captures.ts';

/** The codec inside the npm package `dhcp`: nobody here wrote it. Only what it can express is compared. */
interface PeerMessage {
  readonly op: number;
  readonly xid: number;
  readonly secs: number;
  readonly flags: number;
  readonly ciaddr: string;
  readonly yiaddr: string;
  readonly siaddr: string;
  readonly giaddr: string;
  readonly chaddr: string;
  readonly options: Readonly<Record<number, unknown>>;
}
const peer = createRequire(import.meta.url)('dhcp/lib/protocol.js') as {
  parse(bytes: Buffer): PeerMessage;
  format(message: object): { readonly _data: Buffer; readonly _w: number };
};

test('the peer reads our offer as we meant it', () => {
  const request = decodeDhcp(capture('pi3-bootcode-discover'));
  const offer: DhcpMessage = {
    ...request,
    op: 2,
    yiaddr: '10.0.0.15' as DhcpMessage['yiaddr'],
    siaddr: '10.0.0.1' as DhcpMessage['siaddr'],
    options: [
      { code: 53, data: Buffer.from([2]) },
      { code: 54, data: Buffer.from([10, 0, 0, 1]) },
      { code: 51, data: Buffer.from([0, 0, 14, 16]) },
      { code: 1, data: Buffer.from([255, 255, 255, 0]) },
      { code: 12, data: Buffer.from('red5') },
    ],
  };
  const read = peer.parse(encodeDhcp(offer));
  expect(read).toMatchObject({ op: 2, xid: offer.xid, yiaddr: '10.0.0.15', siaddr: '10.0.0.1', flags: 0 });
  expect(read.chaddr.toLowerCase()).toBe('b8-27-eb-6c-4c-16');
  expect(read.options).toMatchObject({ 53: 2, 54: '10.0.0.1', 51: 3600, 1: '255.255.255.0', 12: 'red5' });
});

test('we read what the peer writes', () => {
  const written = peer.format({
    op: 1,
    htype: 1,
    hlen: 6,
    hops: 0,
    xid: 0x12345678,
    secs: 3,
    flags: 0x8000,
    ciaddr: '0.0.0.0',
    yiaddr: '0.0.0.0',
    siaddr: '0.0.0.0',
    giaddr: '0.0.0.0',
    chaddr: 'B8-27-EB-6C-4C-16',
    sname: '',
    file: '',
    options: { 53: 1, 12: 'red5', 50: '10.0.0.15' },
  });
  const read = decodeDhcp(written._data.subarray(0, written._w));
  expect(read).toMatchObject({ op: 1, xid: 0x12345678, secs: 3, flags: 0x8000 });
  expect(read.chaddr.toString('hex', 0, 6)).toBe('b827eb6c4c16');
  const option = (code: number): string | undefined => read.options.find((entry) => entry.code === code)?.data.toString('hex');
  expect([option(53), option(12), option(50)]).toEqual(['01', Buffer.from('red5').toString('hex'), '0a00000f']);
});
