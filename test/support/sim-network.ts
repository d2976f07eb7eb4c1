/** A memory network as a simulated board sees it, with the simulator's own faults between. */
import type { BoardNetwork, OnMessage, TcpHandlers, TcpStream } from '#src/sim/board-network.ts';
import { type Faults, fates, noFaults } from '#src/sim/faults.ts';
import { derivedSeed } from '#src/sim/random.ts';
import type { MemoryNetwork } from './memory-network.ts';

export interface SimNetworkOptions {
  readonly faults?: Faults;
  /** Answers whole HTTP requests with whole responses. */
  readonly http?: (request: string) => Buffer;
}

export function simNetwork(network: MemoryNetwork, options: SimNetworkOptions = {}): BoardNetwork {
  const faults = options.faults ?? noFaults;
  const outward = fates(faults, derivedSeed(faults.seed, 0));
  const inward = fates(faults, derivedSeed(faults.seed, 1));
  const listeners = new Set<() => void>();
  const { clock } = network;
  const arrive = (onMessage: OnMessage, data: Buffer, peer: Parameters<OnMessage>[1]): void => {
    for (const [index, delay] of inward().delaysMs.entries()) {
      const deliver = (): void => {
        for (const listener of listeners) {
          listener();
        }
        onMessage(data, peer, index > 0);
      };
      if (delay === 0) {
        deliver();
      } else {
        clock.after(delay, deliver);
      }
    }
  };
  return {
    clock,
    openUdp: (address, port, onMessage) => {
      const endpoint = network.open(address, port, (data, peer) => arrive(onMessage, data, peer));
      return {
        port,
        close: () => endpoint.close(),
        send: (data, peer) => {
          const copy = Buffer.from(data);
          const { delaysMs } = outward();
          for (const delay of delaysMs) {
            clock.after(delay, () => endpoint.send(copy, peer));
          }
          return delaysMs.length;
        },
      };
    },
    setAddress: () => undefined,
    onFrame: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    connectTcp: (_server, handlers) => Promise.resolve(httpStream(options.http, handlers)),
  };
}

function httpStream(http: SimNetworkOptions['http'], handlers: TcpHandlers): TcpStream {
  return {
    write: (data) => {
      queueMicrotask(() => {
        const response = http?.(data.toString('latin1')) ?? Buffer.from('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
        // In pieces, as TCP would deliver it.
        for (let at = 0; at < response.length; at += 1000) {
          handlers.onData(response.subarray(at, at + 1000));
        }
        handlers.onEnd(undefined);
      });
    },
    close: () => undefined,
  };
}
