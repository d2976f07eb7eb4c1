/** Classic pcap files (libpcap, pcap-savefile(5)): the frames of a capture. Pure. */
import { DecodeError } from '../domain/errors.ts';

export interface CapturedFrame {
  /** Since the first frame. */
  readonly atMs: number;
  readonly bytes: Buffer;
}

const magics: ReadonlyMap<number, { readonly isLittle: boolean; readonly fractionsPerMs: number }> = new Map([
  [0xa1b2c3d4, { isLittle: false, fractionsPerMs: 1e3 }],
  [0xd4c3b2a1, { isLittle: true, fractionsPerMs: 1e3 }],
  [0xa1b23c4d, { isLittle: false, fractionsPerMs: 1e6 }],
  [0x4d3cb2a1, { isLittle: true, fractionsPerMs: 1e6 }],
]);
const fileHeaderBytes = 24;
const recordHeaderBytes = 16;
const linkTypeEthernet = 1;

/** @throws DecodeError */
export function readPcap(file: Buffer): CapturedFrame[] {
  const magic = file.length < fileHeaderBytes ? undefined : magics.get(file.readUInt32BE(0));
  if (!magic) {
    throw new DecodeError('not a pcap file', 0);
  }
  const word = (at: number): number => (magic.isLittle ? file.readUInt32LE(at) : file.readUInt32BE(at));
  if ((word(20) & 0xffff) !== linkTypeEthernet) {
    throw new DecodeError(`link type ${word(20) & 0xffff} is not Ethernet`, 20);
  }
  const frames: CapturedFrame[] = [];
  let firstMs: number | undefined;
  for (let at = fileHeaderBytes; at < file.length; ) {
    if (at + recordHeaderBytes > file.length) {
      throw new DecodeError('the last record is cut', at);
    }
    const length = word(at + 8);
    const end = at + recordHeaderBytes + length;
    if (end > file.length) {
      throw new DecodeError('the last record is cut', at);
    }
    const ms = word(at) * 1000 + word(at + 4) / magic.fractionsPerMs;
    firstMs ??= ms;
    frames.push({ atMs: ms - firstMs, bytes: file.subarray(at + recordHeaderBytes, end) });
    at = end;
  }
  return frames;
}
