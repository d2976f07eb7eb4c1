/** What DHCP servers send to clients on a link: neither a port of ours nor a client's program is disturbed. */
import { closeSync, readFileSync } from 'node:fs';
import { openPacketDescriptor, receivePacket, setPacketFilter } from './libc.ts';
import { readDatagram } from './read-datagram.ts';

const clientPort = 68;
const pollMs = 500;
const maxPacketBytes = 2048;
/** Of one look; what is more waits, or is dropped by the kernel. */
const maxPackets = 256;

/**
 * For a packet that begins with its IPv4 header: UDP, no later fragment, destination port 68 (classic BPF; an opcode,
 * where to go if true, if false, a constant).
 */
const toClients: readonly (readonly [number, number, number, number])[] = [
  [0x30, 0, 0, 9], // byte 9: protocol
  [0x15, 0, 6, 17],
  [0x28, 0, 0, 6], // half word 6: fragment offset
  [0x45, 4, 0, 0x1fff],
  [0xb1, 0, 0, 0], // x = length of the IPv4 header
  [0x48, 0, 0, 2], // half word x + 2: destination port
  [0x15, 0, 1, clientPort],
  [0x06, 0, 0, 0xffff],
  [0x06, 0, 0, 0],
];

export interface SnifferOptions {
  readonly interfaceName: string;
  readonly onMessage: (data: Buffer) => void;
  readonly onError: (error: unknown) => void;
}

/** The kernel keeps what is not of interest away from us; the rest waits for the next look. The result stops it. */
export function watchDhcpReplies({ interfaceName, onMessage, onError }: SnifferOptions): () => void {
  const fd = openPacketDescriptor(Number(readFileSync(`/sys/class/net/${interfaceName}/ifindex`, 'utf8')));
  setPacketFilter(fd, toClients);
  const buffer = Buffer.alloc(maxPacketBytes);
  const look = (): void => {
    try {
      for (let count = 0; count < maxPackets; count += 1) {
        const packet = receivePacket(fd, buffer);
        if (!packet) {
          break;
        }
        const datagram = readDatagram(packet);
        if (datagram?.port === clientPort) {
          onMessage(datagram.data);
        }
      }
    } catch (error) {
      // The interface is down; it may come back.
      onError(error);
    }
  };
  const timer = setInterval(look, pollMs);
  return () => {
    clearInterval(timer);
    closeSync(fd);
  };
}
