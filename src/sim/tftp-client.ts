/** TFTP as Pi firmware speaks it: lock-step, one block under way, and easily upset. */
import type { Clock } from '../domain/clock.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { UdpEndpoint, UdpPeer } from '../net/udp-endpoint.ts';
import { ack, earlyTerminate, readRequest, readTftpAnswer } from './wire.ts';

const blockBytes = 512;
/** A request or a block that gets no answer in this time counts as "file absent" (raspberrypi/firmware#1292). */
const giveUpMs = 5000;
/** A second copy of a packet within this time hangs real firmware; the server may repeat only later than this. */
const duplicateWindowMs = 900;

export interface SimNetwork {
  readonly clock: Clock;
  openUdp(address: Ipv4, port: number, onMessage: (data: Buffer, peer: UdpPeer) => void): UdpEndpoint;
}

export type Fetched =
  | { readonly kind: 'found'; readonly bytes: Buffer }
  | { readonly kind: 'probed'; readonly size: number | undefined }
  | { readonly kind: 'missing'; readonly why: string };

export interface FetchOptions {
  readonly server: Ipv4;
  readonly address: Ipv4;
  readonly port: number;
  readonly filename: string;
  /** Names and values in turn. */
  readonly tftpOptions: readonly string[];
  /** Stop after the first answer. */
  readonly probe: boolean;
  /** What real firmware would have choked on. */
  readonly complain: (text: string) => void;
}

export async function fetchFile(network: SimNetwork, options: FetchOptions): Promise<Fetched> {
  const { clock } = network;
  const done = Promise.withResolvers<Fetched>();
  const blocks: Buffer[] = [];
  let transferPort: number | undefined;
  let lastAt = 0;
  let lastSeen = -1;
  let cancelTimer: () => void = () => {};
  const expectAnswer = (): void => {
    cancelTimer();
    cancelTimer = clock.after(giveUpMs, () => done.resolve({ kind: 'missing', why: `no answer within ${giveUpMs / 1000} s` }));
  };
  const noteDuplicate = (block: number): boolean => {
    const now = clock.now();
    const isDuplicate = block === lastSeen;
    if (isDuplicate && now - lastAt < duplicateWindowMs) {
      options.complain(`${options.filename}: block ${block} came twice within ${now - lastAt} ms`);
    }
    lastSeen = block;
    lastAt = now;
    return isDuplicate;
  };
  const endpoint = network.openUdp(options.address, options.port, (data, peer) => {
    if (peer.address !== options.server || (transferPort !== undefined && peer.port !== transferPort)) {
      options.complain(`${options.filename}: a packet came from ${peer.address}:${peer.port}`);
      return;
    }
    transferPort = peer.port;
    const answer = readTftpAnswer(data);
    if (answer.kind === 'error') {
      done.resolve({ kind: 'missing', why: `error ${answer.code} ${answer.message}` });
      return;
    }
    if (answer.kind === 'other') {
      options.complain(`${options.filename}: a packet that is neither OACK, DATA nor ERROR`);
      return;
    }
    if (options.probe) {
      endpoint.send(earlyTerminate(), peer);
      done.resolve({ kind: 'probed', size: answer.kind === 'oack' ? answer.tsize : undefined });
      return;
    }
    expectAnswer();
    if (answer.kind === 'oack') {
      noteDuplicate(0);
      endpoint.send(ack(0), peer);
      return;
    }
    if (noteDuplicate(answer.block)) {
      endpoint.send(ack(answer.block), peer);
      return;
    }
    if (answer.block !== (blocks.length + 1) % 65_536) {
      options.complain(`${options.filename}: block ${answer.block} in place of ${blocks.length + 1}`);
      return;
    }
    blocks.push(Buffer.from(answer.data));
    endpoint.send(ack(answer.block), peer);
    if (answer.data.length < blockBytes) {
      done.resolve({ kind: 'found', bytes: Buffer.concat(blocks) });
    }
  });
  endpoint.send(readRequest(options.filename, options.tftpOptions), { address: options.server, port: 69 });
  expectAnswer();
  try {
    return await done.promise;
  } finally {
    cancelTimer();
    await endpoint.close();
  }
}
