/** The network as a board's firmware sees it. Behind it is an interface, or a test's memory. */
import type { Clock } from '../domain/clock.ts';
import type { Ipv4 } from '../domain/ipv4.ts';

export interface Peer {
  readonly address: Ipv4;
  readonly port: number;
}

/** @param isCopy made by the simulated network itself, so that nobody may be blamed for it */
export type OnMessage = (data: Buffer, peer: Peer, isCopy?: boolean) => void;

export interface UdpPort {
  readonly port: number;
  /** How many copies the simulated network lets through: nobody may be blamed for answering two. */
  send(data: Buffer, peer: Peer): number;
  close(): void | Promise<void>;
}

export interface TcpStream {
  write(data: Buffer): void;
  close(): void;
}

export interface TcpHandlers {
  /** Bytes in order; only good until it returns. */
  readonly onData: (data: Buffer) => void;
  /** Undefined when the server closed in order. */
  readonly onEnd: (error: Error | undefined) => void;
}

export interface BoardNetwork {
  readonly clock: Clock;
  openUdp(address: Ipv4, port: number, onMessage: OnMessage): UdpPort;
  setAddress(address: Ipv4, mask: Ipv4): void | Promise<void>;
  /** Told of every frame that reaches the board, whatever is in it. The result ends it. */
  onFrame?(listener: () => void): () => void;
  /** The mask ROM of a 3B stops answering ARP when its first transfer begins. */
  answerArp?(on: boolean): void;
  connectTcp?(server: Peer, handlers: TcpHandlers): Promise<TcpStream>;
}
