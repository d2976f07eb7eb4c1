/** Captures as tcpdump writes them. */
import { broadcastMac, writeUdpFrame } from '#src/sim/frames.ts';
import type { CapturedFrame } from '#src/sim/pcap.ts';

export function pcap(frames: readonly CapturedFrame[], isLittle = true): Buffer {
  const words = (...values: number[]): Buffer => {
    const bytes = Buffer.alloc(values.length * 4);
    for (const [index, value] of values.entries()) {
      isLittle ? bytes.writeUInt32LE(value, index * 4) : bytes.writeUInt32BE(value, index * 4);
    }
    return bytes;
  };
  const records = frames.flatMap(({ atMs, bytes }) => [
    words(1000 + Math.floor(atMs / 1000), (atMs % 1000) * 1000, bytes.length, bytes.length),
    bytes,
  ]);
  return Buffer.concat([words(0xa1b2c3d4, 0x00040002, 0, 0, 65_535, 1), ...records]);
}

/** UDP from a board without an address to everybody. */
export function clientFrame(sourcePort: number, destinationPort: number, data: Buffer): Buffer {
  const room = Buffer.alloc(2048);
  const header = {
    sourceMac: 0xb827eb6c4c16,
    destinationMac: broadcastMac,
    source: 0,
    destination: 0xffffffff,
    sourcePort,
    destinationPort,
  };
  return Buffer.from(room.subarray(0, writeUdpFrame(room, header, data)));
}
