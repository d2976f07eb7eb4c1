/** Sends what clients sent in a capture once more, and tells what comes back. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ipv4FromNumber } from '../domain/ipv4.ts';
import { macFromBytes } from '../domain/mac.ts';
import { openPacketSocket } from '../net/packet-socket.ts';
import { broadcastMac, etherType, ipProtocol, readArp, readIp, writeArpFrame } from './frames.ts';
import type { CapturedFrame } from './pcap.ts';

const dhcpClientPort = 68;
const serverPorts: ReadonlySet<number> = new Set([67, 69, 4011]);
const pollMs = 2;
/** Pauses of the capture are kept up to this long. */
const maxPauseMs = 2000;

export interface ReplayOptions {
  readonly interfaceName: string;
  readonly frames: readonly CapturedFrame[];
  /** How long to listen after the last frame. */
  readonly listenMs: number;
  readonly signal: AbortSignal;
  readonly onLine: (line: string) => void;
}

export interface ReplayResult {
  readonly sent: number;
  readonly received: number;
}

/** What clients sent to the ports of boot servers. */
export function clientFrames(frames: readonly CapturedFrame[]): CapturedFrame[] {
  return frames.filter(({ bytes }) => {
    const ports = udpPorts(bytes);
    if (!ports) {
      return false;
    }
    // Acknowledgements go to the port of the transfer, which will be another one this time: they are not sent again.
    return serverPorts.has(ports.destination) && (ports.destination !== 67 || ports.source === dhcpClientPort);
  });
}

export async function replay({ interfaceName, frames, listenMs, signal, onLine }: ReplayOptions): Promise<ReplayResult> {
  const wanted = clientFrames(frames);
  const macs = new Set(wanted.map(({ bytes }) => bytes.readUIntBE(6, 6)));
  const holders = new Map(wanted.map(({ bytes }) => [bytes.readUInt32BE(26), bytes.readUIntBE(6, 6)]));
  const socket = openPacketSocket(interfaceName);
  let received = 0;
  const listen = (): void => {
    socket.receive(64, (frame) => {
      const arp = frame.length >= 14 && frame.readUInt16BE(12) === etherType.arp ? readArp(frame) : undefined;
      const holder = arp?.operation === 1 ? holders.get(arp.target) : undefined;
      if (arp && holder !== undefined) {
        const answer = { operation: 2, senderMac: holder, sender: arp.target, targetMac: arp.senderMac, target: arp.sender } as const;
        socket.commit(writeArpFrame(socket.room(), answer));
        socket.flush();
        return;
      }
      const destination = frame.readUIntBE(0, 6);
      const text = macs.has(destination) || destination === broadcastMac ? describeDatagram(frame) : undefined;
      if (text !== undefined) {
        received += 1;
        onLine(`< ${text}`);
      }
    });
  };
  const listenFor = async (ms: number): Promise<void> => {
    for (const end = performance.now() + ms; performance.now() < end && !signal.aborted; ) {
      listen();
      await sleep(pollMs);
    }
  };
  try {
    let before = wanted[0]?.atMs ?? 0;
    for (const { atMs, bytes } of wanted) {
      await listenFor(Math.min(maxPauseMs, atMs - before));
      before = atMs;
      onLine(`> ${describeDatagram(bytes) ?? ''}`);
      bytes.copy(socket.room());
      socket.commit(Math.min(bytes.length, 2048));
      socket.flush();
    }
    await listenFor(listenMs);
    return { sent: wanted.length, received };
  } finally {
    socket.close();
  }
}

function udpPorts(frame: Buffer): { readonly source: number; readonly destination: number; readonly data: Buffer } | undefined {
  const ip = frame.length >= 14 && frame.readUInt16BE(12) === etherType.ipv4 ? readIp(frame) : undefined;
  if (ip?.protocol !== ipProtocol.udp) {
    return undefined;
  }
  return { source: frame.readUInt16BE(ip.at), destination: frame.readUInt16BE(ip.at + 2), data: frame.subarray(ip.at + 8, ip.end) };
}

const dhcpNames = ['', 'DISCOVER', 'OFFER', 'REQUEST', 'DECLINE', 'ACK', 'NAK', 'RELEASE', 'INFORM'];
const tftpNames = ['', 'RRQ', 'WRQ', 'DATA', 'ACK', 'ERROR', 'OACK'];

/** `10.0.0.1:67 > 255.255.255.255:68 DHCP OFFER for b8:27:eb:6c:4c:16, 342 bytes`. Undefined for what is no UDP. */
export function describeDatagram(frame: Buffer): string | undefined {
  const udp = udpPorts(frame);
  if (!udp) {
    return undefined;
  }
  const { source, destination, data } = udp;
  const from = `${ipv4FromNumber(frame.readUInt32BE(26))}:${source}`;
  const to = `${ipv4FromNumber(frame.readUInt32BE(30))}:${destination}`;
  const isDhcp = data.length > 243 && data.readUInt32BE(236) === 0x63825363;
  const what = isDhcp
    ? `DHCP ${dhcpNames[data[240] === 53 ? (data[242] ?? 0) : 0] ?? '?'} for ${macFromBytes(data.subarray(28, 34))}`
    : `TFTP ${tftpNames[data[1] ?? 0] ?? '?'} ${printable(data.subarray(2, 80))}`;
  return `${from} > ${to} ${what}, ${data.length} bytes`;
}

function printable(bytes: Buffer): string {
  return bytes
    .toString('latin1')
    .replaceAll(/[^\x20-\x7e]+/g, ' ')
    .trim();
}
