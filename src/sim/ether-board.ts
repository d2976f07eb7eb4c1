/** One board's end of an `EtherNetwork`: its MAC, its address, its ARP, its ports. */
import type { Clock } from '../domain/clock.ts';
import { UserError } from '../domain/errors.ts';
import { anyAddress, type Ipv4, ipv4FromNumber, ipv4ToNumber } from '../domain/ipv4.ts';
import type { BoardNetwork, OnMessage, Peer, TcpHandlers, TcpStream, UdpPort } from './board-network.ts';
import { broadcastMac, etherType, ipProtocol, readArp, readIp, writeArpFrame, writeUdpFrame } from './frames.ts';
import { TcpClient } from './tcp-client.ts';

const arpEveryMs = 1000;
const arpAttempts = 3;
const firstTcpPort = 49_152;

type WriteFrame = (frame: Buffer) => number;

export interface EtherBoardOptions {
  readonly mac: number;
  readonly clock: Clock;
  /** How many copies the network lets through. */
  readonly transmit: (write: WriteFrame) => number;
  readonly arrive: (frame: Buffer, deliver: (frame: Buffer, isCopy: boolean) => void) => void;
}

interface Neighbour {
  mac: number | undefined;
  /** Frames that wait for the answer. BOUNDED: firmware waits for an answer to each. */
  waiting: ((mac: number) => void)[];
}

export class EtherBoard implements BoardNetwork {
  readonly clock: Clock;
  readonly #options: EtherBoardOptions;
  readonly #ports = new Map<number, OnMessage>();
  readonly #streams = new Map<number, TcpClient>();
  readonly #frameListeners = new Set<() => void>();
  readonly #neighbours = new Map<number, Neighbour>();
  /** Texts of addresses, so that they are made once and not for every frame. */
  readonly #texts = new Map<number, Ipv4>();
  readonly #numbers = new Map<string, number>();
  #address = 0;
  #answersArp = true;
  #nextTcpPort = firstTcpPort;

  constructor(options: EtherBoardOptions) {
    this.#options = options;
    this.clock = options.clock;
  }

  openUdp(address: Ipv4, port: number, onMessage: OnMessage): UdpPort {
    const source = ipv4ToNumber(address);
    this.#ports.set(port, onMessage);
    return {
      port,
      send: (data, peer) => this.#sendUdp(source, port, data, peer),
      close: () => {
        if (this.#ports.get(port) === onMessage) {
          this.#ports.delete(port);
        }
      },
    };
  }

  setAddress(address: Ipv4): void {
    this.#address = ipv4ToNumber(address);
    this.#neighbours.clear();
  }

  onFrame(listener: () => void): () => void {
    this.#frameListeners.add(listener);
    return () => this.#frameListeners.delete(listener);
  }

  answerArp(on: boolean): void {
    this.#answersArp = on;
  }

  async connectTcp(server: Peer, handlers: TcpHandlers): Promise<TcpStream> {
    const destination = this.#number(server.address);
    const port = this.#nextTcpPort;
    this.#nextTcpPort = port === 65_535 ? firstTcpPort : port + 1;
    const mac = await new Promise<number>((resolve, reject) => {
      this.#resolve(destination, resolve);
      this.clock.after(arpEveryMs * (arpAttempts + 1), () => reject(new UserError('unavailable', `${server.address} does not answer ARP`)));
    });
    const stream = new TcpClient({
      ...handlers,
      clock: this.clock,
      addresses: { sourceMac: this.#options.mac, destinationMac: mac, source: this.#address, destination },
      sourcePort: port,
      destinationPort: server.port,
      transmit: this.#options.transmit,
      onClosed: () => this.#streams.delete(port),
    });
    this.#streams.set(port, stream);
    await stream.connected;
    return stream;
  }

  arrive(frame: Buffer): void {
    this.#options.arrive(frame, (bytes, isCopy) => this.#receive(bytes, isCopy));
  }

  #receive(frame: Buffer, isCopy: boolean): void {
    for (const listener of this.#frameListeners) {
      listener();
    }
    const type = frame.readUInt16BE(12);
    if (type === etherType.arp) {
      this.#receiveArp(frame);
      return;
    }
    const ip = type === etherType.ipv4 ? readIp(frame) : undefined;
    const destination = ip ? frame.readUInt32BE(30) : 0;
    // A board without an address takes what is sent to the one that it will have.
    if (!ip || (destination !== this.#address && this.#address !== 0 && destination !== 0xffffffff)) {
      return;
    }
    const source = frame.readUInt32BE(26);
    if (ip.protocol === ipProtocol.udp) {
      const end = Math.min(ip.end, ip.at + frame.readUInt16BE(ip.at + 4));
      const onMessage = this.#ports.get(frame.readUInt16BE(ip.at + 2));
      onMessage?.(frame.subarray(ip.at + 8, end), { address: this.#text(source), port: frame.readUInt16BE(ip.at) }, isCopy);
    } else if (ip.protocol === ipProtocol.tcp) {
      this.#streams.get(frame.readUInt16BE(ip.at + 2))?.receive(frame.subarray(ip.at, ip.end));
    }
  }

  #receiveArp(frame: Buffer): void {
    const arp = readArp(frame);
    if (!arp || this.#address === 0 || arp.target !== this.#address) {
      return;
    }
    const { mac } = this.#options;
    if (arp.operation === 1) {
      const reply = { operation: 2, senderMac: mac, sender: this.#address, targetMac: arp.senderMac, target: arp.sender } as const;
      if (this.#answersArp) {
        this.#options.transmit((room) => writeArpFrame(room, reply));
      }
      return;
    }
    const neighbour = this.#neighbours.get(arp.sender);
    if (neighbour) {
      neighbour.mac = arp.senderMac;
      for (const send of neighbour.waiting.splice(0)) {
        send(arp.senderMac);
      }
    }
  }

  #sendUdp(source: number, sourcePort: number, data: Buffer, peer: Peer): number {
    const destination = this.#number(peer.address);
    let copies = 1;
    const sendTo = (destinationMac: number): void => {
      const header = { sourceMac: this.#options.mac, destinationMac, source, destination, sourcePort, destinationPort: peer.port };
      copies = this.#options.transmit((room) => writeUdpFrame(room, header, data));
    };
    if (destination === 0xffffffff) {
      sendTo(broadcastMac);
    } else {
      this.#resolve(destination, sendTo);
    }
    return copies;
  }

  #resolve(address: number, use: (mac: number) => void): void {
    const known = this.#neighbours.get(address);
    if (known?.mac !== undefined) {
      use(known.mac);
      return;
    }
    if (known) {
      known.waiting.push(use);
      return;
    }
    const neighbour: Neighbour = { mac: undefined, waiting: [use] };
    this.#neighbours.set(address, neighbour);
    this.#askArp(address, neighbour, arpAttempts);
  }

  #askArp(address: number, neighbour: Neighbour, attemptsLeft: number): void {
    if (neighbour.mac !== undefined || this.#neighbours.get(address) !== neighbour) {
      return;
    }
    if (attemptsLeft === 0) {
      this.#neighbours.delete(address);
      return;
    }
    const request = { operation: 1, senderMac: this.#options.mac, sender: this.#address, targetMac: 0, target: address } as const;
    this.#options.transmit((room) => writeArpFrame(room, request));
    this.clock.after(arpEveryMs, () => this.#askArp(address, neighbour, attemptsLeft - 1));
  }

  #text(address: number): Ipv4 {
    let text = this.#texts.get(address);
    if (text === undefined) {
      text = address === 0 ? anyAddress : ipv4FromNumber(address);
      if (this.#texts.size < 64) {
        this.#texts.set(address, text);
      }
    }
    return text;
  }

  #number(address: Ipv4): number {
    let number = this.#numbers.get(address);
    if (number === undefined) {
      number = ipv4ToNumber(address);
      if (this.#numbers.size < 64) {
        this.#numbers.set(address, number);
      }
    }
    return number;
  }
}
