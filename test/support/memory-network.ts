import { type Ipv4, limitedBroadcast } from '#src/domain/ipv4.ts';
import type { UdpEndpoint, UdpPeer } from '#src/net/udp-endpoint.ts';
import type { FakeClock } from './fake-clock.ts';

export interface Faults {
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
  readonly seed: number;
}

const noFaults: Faults = { loss: 0, duplicate: 0, reorder: 0, seed: 1 };

interface Port {
  address: Ipv4;
  readonly port: number;
  readonly onMessage: (data: Buffer, peer: UdpPeer) => void;
}

/** UDP between objects: drops, repeats and delays by seed, so that a failure can be played again. */
export class MemoryNetwork {
  readonly clock: FakeClock;
  readonly #faults: Faults;
  readonly #ports = new Set<Port>();
  #random: number;
  #nextPort = 50_000;
  delivered = 0;

  constructor(clock: FakeClock, faults: Faults = noFaults) {
    this.clock = clock;
    this.#faults = faults;
    this.#random = faults.seed;
  }

  open(address: Ipv4, port: number, onMessage: Port['onMessage']): UdpEndpoint {
    if (port === 0) {
      this.#nextPort += 1;
    }
    const own: Port = { address, port: port === 0 ? this.#nextPort : port, onMessage };
    this.#ports.add(own);
    const close = (): Promise<void> => {
      this.#ports.delete(own);
      return Promise.resolve();
    };
    return {
      port: own.port,
      send: (data, peer) => this.#send(own, Buffer.from(data), peer),
      close,
      [Symbol.asyncDispose]: close,
    };
  }

  #send(from: Port, data: Buffer, to: UdpPeer): void {
    if (this.#chance(this.#faults.loss)) {
      return;
    }
    const copies = this.#chance(this.#faults.duplicate) ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      const delay = this.#chance(this.#faults.reorder) ? 30 : 1;
      this.clock.after(delay, () => this.#deliver(from, data, to));
    }
  }

  #deliver(from: Port, data: Buffer, to: UdpPeer): void {
    for (const port of [...this.#ports]) {
      const isForIt = port.port === to.port && (to.address === port.address || (to.address === limitedBroadcast && port !== from));
      if (isForIt) {
        this.delivered += 1;
        port.onMessage(data, { address: from.address, port: from.port });
      }
    }
  }

  /** mulberry32. */
  #chance(probability: number): boolean {
    this.#random = (this.#random + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#random ^ (this.#random >>> 15), 1 | this.#random);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296 < probability;
  }
}
