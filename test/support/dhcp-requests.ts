/** DHCP requests of a machine, from what tcpdump wrote (pcap, Ethernet link type). */
import { readFile } from 'node:fs/promises';
import { type Mac, macBytes } from '#src/domain/mac.ts';

const fileHeader = 24;
const recordHeader = 16;
const udp = 17;

/** The UDP payloads that this machine sent to a DHCP port, in order; repetitions are left in. */
export async function dhcpRequests(file: string, mac: Mac): Promise<Buffer[]> {
  const bytes = await readFile(file);
  if (bytes.readUInt32LE(0) !== 0xa1b2c3d4) {
    throw new Error(`${file} is not a pcap file of this byte order`);
  }
  const found: Buffer[] = [];
  for (let at = fileHeader; at + recordHeader <= bytes.length; ) {
    const length = bytes.readUInt32LE(at + 8);
    const frame = bytes.subarray(at + recordHeader, at + recordHeader + length);
    at += recordHeader + length;
    const payload = dhcpPayload(frame);
    // EDK2 asks port 4011 from port 4011, where the answer comes back to.
    const isRequest = payload?.[0] === 1;
    if (isRequest && payload.subarray(28, 34).equals(macBytes(mac))) {
      found.push(Buffer.from(payload));
    }
  }
  return found;
}

function dhcpPayload(frame: Buffer): Buffer | undefined {
  if (frame.length < 42 || frame.readUInt16BE(12) !== 0x0800 || frame[23] !== udp) {
    return undefined;
  }
  const header = 14 + ((frame[14] ?? 0) & 0x0f) * 4;
  const port = frame.readUInt16BE(header + 2);
  return port === 67 || port === 4011 ? frame.subarray(header + 8, header + frame.readUInt16BE(header + 4)) : undefined;
}
