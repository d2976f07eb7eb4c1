/** What DHCP servers send to clients on a link: neither a port of ours nor a client's program is disturbed. */
import { closeSync, readFileSync } from 'node:fs';
import { openPacketDescriptor, receivePacket, setPacketFilter, udpPortFilter } from './libc.ts';
import { readDatagram } from './read-datagram.ts';

const clientPort = 68;
const pollMs = 500;
const maxPacketBytes = 2048;
/** Of one look; what is more waits, or is dropped by the kernel. */
const maxPackets = 256;

export interface SnifferOptions {
  readonly interfaceName: string;
  readonly onMessage: (data: Buffer) => void;
  readonly onError: (error: unknown) => void;
}

/** The kernel keeps what is not of interest away from us; the rest waits for the next look. The result stops it. */
export function watchDhcpReplies({ interfaceName, onMessage, onError }: SnifferOptions): () => void {
  const fd = openPacketDescriptor(Number(readFileSync(`/sys/class/net/${interfaceName}/ifindex`, 'utf8')));
  setPacketFilter(fd, udpPortFilter(clientPort));
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
