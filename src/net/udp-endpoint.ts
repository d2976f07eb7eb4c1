/** A UDP socket bound to one interface: what it hears came from there, what it sends leaves there. */
import { createSocket, type Socket } from 'node:dgram';
import { anyAddress, type Ipv4, parseIpv4 } from '../domain/ipv4.ts';
import { forceReceiveBuffer, openUdpDescriptor } from './libc.ts';

export interface UdpPeer {
  readonly address: Ipv4;
  readonly port: number;
}

export interface UdpEndpoint extends AsyncDisposable {
  readonly port: number;
  /** A failed send is reported to `onError` and otherwise lost, as UDP is. */
  send(data: Buffer, peer: UdpPeer): void;
  close(): Promise<void>;
}

export interface UdpEndpointOptions {
  readonly interfaceName: string;
  readonly address: Ipv4;
  /** 0 takes a free one. */
  readonly port: number;
  /** What may wait in the kernel while we are busy; by default what the system allows everybody. */
  readonly receiveBufferBytes?: number;
  readonly onMessage: (data: Buffer, peer: UdpPeer) => void;
  readonly onError: (error: Error) => void;
}

/** @throws SystemError when the port is taken or the interface is missing */
export function openUdpEndpoint(options: UdpEndpointOptions): UdpEndpoint {
  const fd = openUdpDescriptor(options.interfaceName, options.address, options.port);
  if (options.receiveBufferBytes !== undefined) {
    forceReceiveBuffer(fd, options.receiveBufferBytes);
  }
  // All peers are addresses already: nothing to look up, which Node would do in a later turn.
  const socket: Socket = createSocket({ type: 'udp4', lookup: (address, _options, callback) => callback(null, address, 4) });
  let known = { text: '', address: anyAddress };
  socket.on('message', (data, from) => {
    // Nobody can be answered at port 0, and Node throws at the attempt.
    if (from.port !== 0) {
      if (known.text !== from.address) {
        known = { text: from.address, address: parseIpv4(from.address) };
      }
      receive(options, data, { address: known.address, port: from.port });
    }
  });
  socket.on('error', options.onError);
  socket.bind({ fd });
  const onSent = (error: Error | null): void => {
    if (error) {
      options.onError(error);
    }
  };
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= new Promise((resolve) => socket.close(() => resolve()));
    return closing;
  };
  return {
    port: socket.address().port,
    send: (data, peer) => {
      if (!closing) {
        socket.send(data, peer.port, peer.address, onSent);
      }
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** What a packet sets off may fail, on a full disk for one. That is told, and the next packet is heard all the same. */
function receive(options: UdpEndpointOptions, data: Buffer, peer: UdpPeer): void {
  try {
    options.onMessage(data, peer);
  } catch (error) {
    options.onError(error instanceof Error ? error : new Error(String(error)));
  }
}
