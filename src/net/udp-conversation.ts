/** A UDP socket for one exchange with one peer: from a port that the kernel draws, and deaf to everybody else. */
import { createSocket } from 'node:dgram';
import type { UdpPeer } from './udp-endpoint.ts';

export interface UdpConversationOptions {
  readonly peer: UdpPeer;
  readonly onMessage: (data: Buffer) => void;
  /** Also when nobody listens there, which the peer's kernel says at once. */
  readonly onError: (error: Error) => void;
}

export interface UdpConversation {
  send(data: Buffer): void;
  close(): void;
}

export function openUdpConversation({ peer, onMessage, onError }: UdpConversationOptions): UdpConversation {
  const socket = createSocket('udp4');
  let isClosed = false;
  let isConnected = false;
  let waiting: Buffer[] = [];
  const fail = (error: Error | null): void => {
    if (error && !isClosed) {
      onError(error);
    }
  };
  const write = (data: Buffer): void => socket.send(data, fail);
  socket.on('message', (data) => {
    if (!isClosed) {
      onMessage(data);
    }
  });
  socket.on('error', fail);
  socket.once('connect', () => {
    isConnected = true;
    waiting.forEach(write);
    waiting = [];
  });
  socket.connect(peer.port, peer.address);
  return {
    send: (data) => {
      if (isConnected) {
        write(data);
      } else {
        waiting.push(data);
      }
    },
    close: () => {
      if (!isClosed) {
        isClosed = true;
        socket.close();
      }
    },
  };
}
