/** A TFTP client that does nothing by itself: a test says every packet and looks at every answer. */
import type { Ipv4 } from '#src/domain/ipv4.ts';
import { decodeTftp, encodeTftp, type TftpOption, type TftpPacket } from '#src/protocol/tftp/packet.ts';
import type { MemoryNetwork } from './memory-network.ts';
import { boardAddress, serverAddress } from './servers.ts';

export interface Heard {
  readonly packet: TftpPacket;
  /** Port that it came from. */
  readonly port: number;
  readonly atMs: number;
}

export interface RawTftpClient {
  readonly heard: readonly Heard[];
  /** A packet to this port of the server, and what came soon after it. */
  sayTo(port: number, packet: TftpPacket): Promise<readonly Heard[]>;
  /** A request to port 69. */
  read(filename: string, options?: Readonly<Record<string, string>>, mode?: string): Promise<readonly Heard[]>;
  /** To the port that the transfer came from. */
  say(packet: TftpPacket): Promise<readonly Heard[]>;
  ack(block: number): Promise<readonly Heard[]>;
  /** Says nothing for so long. */
  silent(ms: number): Promise<readonly Heard[]>;
  /** The transfer's port on the server. */
  readonly peer: () => number;
}

/** Long enough for an answer, too short for any repetition. */
const answerMs = 20;

export function rawTftpClient(network: MemoryNetwork, address: Ipv4 = boardAddress, port = 49_152): RawTftpClient {
  const heard: Heard[] = [];
  let peer = 69;
  const endpoint = network.open(address, port, (data, from) => {
    const packet = decodeTftp(data);
    heard.push({ packet, port: from.port, atMs: network.clock.now() });
    peer = from.port;
  });
  const silent = async (ms: number): Promise<Heard[]> => {
    const before = heard.length;
    const end = network.clock.now() + ms;
    // Moves the clock to the very end, where nothing else would.
    let isOver = false;
    network.clock.after(ms, () => {
      isOver = true;
    });
    await network.clock.run(() => isOver && network.clock.now() >= end);
    return heard.slice(before);
  };
  const sayTo = async (to: number, packet: TftpPacket): Promise<Heard[]> => {
    endpoint.send(encodeTftp(packet), { address: serverAddress, port: to });
    return await silent(answerMs);
  };
  const toList = (options: Readonly<Record<string, string>>): TftpOption[] =>
    Object.entries(options).map(([name, value]) => ({ name, value }));
  return {
    heard,
    sayTo,
    read: (filename, options = {}, mode = 'octet') => sayTo(69, { kind: 'rrq', filename, mode, options: toList(options) }),
    say: (packet) => sayTo(peer, packet),
    ack: (block) => sayTo(peer, { kind: 'ack', block }),
    silent,
    peer: () => peer,
  };
}
