/** What the tests of TFTP clause by clause have in common. */
import { expect } from 'vitest';
import type { TftpPacket } from '#src/protocol/tftp/packet.ts';
import { FakeClock } from './fake-clock.ts';
import { MemoryNetwork } from './memory-network.ts';
import { type Heard, type RawTftpClient, rawTftpClient } from './raw-tftp-client.ts';
import { startTftp, type TestTftp } from './servers.ts';

export const content = (size: number): Buffer => Buffer.from(Array.from({ length: size }, (_, index) => (index * 31 + (index >> 8)) % 251));

/** Files are called by their size; `text` has every kind of line end. */
export function start(): { network: MemoryNetwork; tftp: TestTftp; client: RawTftpClient } {
  const network = new MemoryNetwork(new FakeClock());
  const tftp = startTftp(network, (filename) => {
    if (filename === 'text') {
      return { kind: 'found', bytes: Buffer.from('a\nb\rc\r\n') };
    }
    return /^\d+$/.test(filename) ? { kind: 'found', bytes: content(Number(filename)) } : { kind: 'missing', expected: false };
  });
  return { network, tftp, client: rawTftpClient(network) };
}

export const packets = (heard: readonly Heard[]): TftpPacket[] => heard.map(({ packet }) => packet);
export const blocks = (heard: readonly Heard[]): number[] => packets(heard).map((packet) => (packet.kind === 'data' ? packet.block : -1));
export const data = (size: number, block: number, blksize = 512): TftpPacket => ({
  kind: 'data',
  block: block % 65_536,
  data: content(size).subarray((block - 1) * blksize, block * blksize),
});
export const error = (code: number): object => expect.objectContaining({ kind: 'error', code });
