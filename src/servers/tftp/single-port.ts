/**
 * All transfers on port 69, for firewalls and containers that pass one port only. A transfer is then told by its client's
 * address and port alone. Every boot client that takes the server's port from the first answer works with it.
 */
import type { UdpEndpoint, UdpPeer } from '../../net/udp-endpoint.ts';
import { Opcode } from '../../protocol/tftp/packet.ts';
import { keyOf } from './data-path.ts';

type OnMessage = (data: Buffer, peer: UdpPeer) => void;

export class SinglePort {
  // BOUNDED: by the server, which opens no more transfers than its limit.
  readonly #transfers = new Map<string, OnMessage>();
  readonly #port: () => UdpEndpoint;

  /** @param port the endpoint of port 69; it exists by the time of the first request */
  constructor(port: () => UdpEndpoint) {
    this.#port = port;
  }

  /** True when the packet was one of a transfer. */
  receive(data: Buffer, peer: UdpPeer): boolean {
    const opcode = data.length >= 2 ? data.readUInt16BE(0) : Opcode.Rrq;
    if (opcode === Opcode.Rrq || opcode === Opcode.Wrq) {
      return false;
    }
    this.#transfers.get(keyOf(peer))?.(data, peer);
    return true;
  }

  readonly open = (peer: UdpPeer, onMessage: OnMessage): UdpEndpoint => {
    const key = keyOf(peer);
    const endpoint = this.#port();
    this.#transfers.set(key, onMessage);
    const close = (): Promise<void> => {
      if (this.#transfers.get(key) === onMessage) {
        this.#transfers.delete(key);
      }
      return Promise.resolve();
    };
    return { port: endpoint.port, send: endpoint.send, close, [Symbol.asyncDispose]: close };
  };
}
