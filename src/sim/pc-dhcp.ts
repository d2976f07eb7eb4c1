/** DHCP of PCs and of U-Boot: an address from one server, boot information from it or from a proxy (PXE 2.1). */
import { UserError } from '../domain/errors.ts';
import { anyAddress, type Ipv4, limitedBroadcast, parseIpv4 } from '../domain/ipv4.ts';
import type { Board } from './board.ts';
import { dhcpRequest, dhcpType, optionAddress, optionText, type Reply, type Request, readReply } from './dhcp-wire.ts';
import { addressBytes } from './pi-dhcp.ts';

const proxyPort = 4011;
const requestEveryMs = 2000;
const requestAttempts = 4;
/** UefiPxeBcDxe asks a proxy's port 4011 four times, a second apart. */
const proxyEveryMs = 1000;
const proxyAttempts = 4;
const defaultMask = parseIpv4('255.255.255.0');

export interface PcDhcpStyle {
  readonly stage: string;
  /** What it says of itself in every message. */
  readonly options: Request['options'];
  /** How long offers are collected after each DISCOVER; one entry for each. */
  readonly windowsMs: readonly number[];
  /** Ends collecting early. */
  readonly isEnough: (offers: readonly Heard[]) => boolean;
  /** What an offer must say of itself in option 60 to be boot information; without it the lease is all there is. */
  readonly vendorClass: string | undefined;
}

export interface Heard {
  readonly reply: Reply;
  readonly source: Ipv4;
}

export interface BootInfo {
  readonly server: Ipv4;
  /** A name for TFTP, or a URL. */
  readonly file: string;
  readonly reply: Reply;
}

/** @throws UserError unavailable */
export async function pcDhcp(board: Board, style: PcDhcpStyle): Promise<BootInfo> {
  const xid = Math.floor(board.options.random() * 0xffffffff);
  const offers = await collect(board, style, xid);
  const lease = offers.find(({ reply }) => reply.yiaddr !== anyAddress);
  if (!lease) {
    throw new UserError('unavailable', `${style.stage}: no DHCP server offered an address`, {
      hint: 'The board is not registered: cardless node list --unclaimed',
    });
  }
  checkIdentifier(board, lease);
  const ack = await requestLease(board, style, xid, lease);
  await board.network.setAddress(ack.reply.yiaddr, optionAddress(ack.reply, 1) ?? defaultMask);
  board.address = ack.reply.yiaddr;
  const { vendorClass } = style;
  if (vendorClass === undefined) {
    return useBootInfo(board, style, ack);
  }
  const isBoot = ({ reply }: Heard): boolean => (optionText(reply, 60) ?? '').startsWith(vendorClass);
  const chosen = isBoot(lease) ? ack : offers.find(isBoot);
  if (!chosen) {
    throw new UserError('unavailable', `${style.stage}: no server offered something to boot`);
  }
  checkIdentifier(board, chosen);
  // Nothing but option 60: the answer is at port 4011 (UefiPxeBcDxe, "BINL").
  return useBootInfo(board, style, fileOf(chosen.reply) === '' ? await askProxy(board, style, xid, serverOf(chosen)) : chosen);
}

function useBootInfo(board: Board, style: PcDhcpStyle, info: Heard): BootInfo {
  const boot = { server: serverOf(info), file: fileOf(info.reply), reply: info.reply };
  board.server = boot.server;
  board.options.onEvent({ kind: 'offer', stage: style.stage, address: board.address, server: boot.server });
  return boot;
}

/** Option 67, else the field; a name may end with NUL or 255. */
export function fileOf(reply: Reply): string {
  const text = optionText(reply, 67) ?? reply.file;
  return text.replace(/[\0\u00ff].*$/s, '');
}

function serverOf({ reply, source }: Heard): Ipv4 {
  return reply.siaddr === anyAddress ? (optionAddress(reply, 54) ?? source) : reply.siaddr;
}

function checkIdentifier(board: Board, { reply, source }: Heard): void {
  const identifier = optionAddress(reply, 54);
  if (identifier !== source) {
    board.complain(`option 54 is ${identifier ?? 'absent'}, the reply came from ${source}`);
  }
}

async function collect(board: Board, style: PcDhcpStyle, xid: number): Promise<Heard[]> {
  const { mac } = board.options;
  const offers: Heard[] = [];
  let wake: () => void = () => {};
  const endpoint = board.network.openUdp(anyAddress, 68, (data, peer) => {
    const reply = readReply(data, mac, xid);
    if (reply?.type === dhcpType.offer && !offers.some(({ source }) => source === peer.address)) {
      offers.push({ reply, source: peer.address });
      if (style.isEnough(offers)) {
        wake();
      }
    }
  });
  try {
    for (const [index, windowMs] of style.windowsMs.entries()) {
      board.checkPower();
      board.options.onEvent({ kind: 'discover', stage: style.stage, attempt: index + 1 });
      const options: Request['options'] = [[53, [dhcpType.discover]], ...style.options];
      endpoint.send(dhcpRequest({ mac, xid, options, broadcast: true }), { address: limitedBroadcast, port: 67 });
      await new Promise<void>((resolve) => {
        const cancel = board.clock.after(windowMs, resolve);
        wake = () => {
          cancel();
          resolve();
        };
      });
      if (offers.some(({ reply }) => reply.yiaddr !== anyAddress)) {
        break;
      }
    }
    return offers;
  } finally {
    await endpoint.close();
  }
}

async function requestLease(board: Board, style: PcDhcpStyle, xid: number, lease: Heard): Promise<Heard> {
  const identifier = optionAddress(lease.reply, 54) ?? lease.source;
  const options: Request['options'] = [
    [53, [dhcpType.request]],
    [54, addressBytes(identifier)],
    [50, addressBytes(lease.reply.yiaddr)],
    ...style.options,
  ];
  const packet = dhcpRequest({ mac: board.options.mac, xid, options, broadcast: true });
  const to = { address: limitedBroadcast, port: 67 };
  const answer = await askUntil(
    board,
    xid,
    anyAddress,
    68,
    packet,
    to,
    requestEveryMs,
    requestAttempts,
    (heard) => heard.source === lease.source,
  );
  if (answer?.reply.type !== dhcpType.ack) {
    throw new UserError(
      'unavailable',
      `${style.stage}: ${lease.source} ${answer ? 'refused' : 'did not confirm'} the address that it had offered`,
    );
  }
  if (answer.reply.yiaddr !== lease.reply.yiaddr) {
    board.complain(`the ACK gives ${answer.reply.yiaddr}, the OFFER gave ${lease.reply.yiaddr}`);
  }
  return answer;
}

/** The answer must come from port 4011 too (iPXE checks it), and name a file. */
async function askProxy(board: Board, style: PcDhcpStyle, xid: number, server: Ipv4): Promise<Heard> {
  const options: Request['options'] = [[53, [dhcpType.request]], ...style.options];
  const packet = dhcpRequest({ mac: board.options.mac, xid, ciaddr: board.address, options });
  const to = { address: server, port: proxyPort };
  const isGood = (heard: Heard, port: number): boolean => {
    if (port !== proxyPort) {
      board.complain(`the answer of the proxy came from port ${port}`);
    }
    return heard.source === server;
  };
  const answer = await askUntil(board, xid, board.address, 68, packet, to, proxyEveryMs, proxyAttempts, isGood);
  if (answer?.reply.type !== dhcpType.ack || fileOf(answer.reply) === '') {
    throw new UserError(
      'unavailable',
      `${style.stage}: ${server} offered to boot and named nothing, neither in its offer nor at port ${proxyPort}`,
    );
  }
  return answer;
}

async function askUntil(
  board: Board,
  xid: number,
  address: Ipv4,
  port: number,
  packet: Buffer,
  to: { readonly address: Ipv4; readonly port: number },
  everyMs: number,
  attempts: number,
  isGood: (heard: Heard, port: number) => boolean,
): Promise<Heard | undefined> {
  const done = Promise.withResolvers<Heard>();
  const endpoint = board.network.openUdp(address, port, (data, peer) => {
    const reply = readReply(data, board.options.mac, xid);
    const isAnswer = reply?.type === dhcpType.ack || reply?.type === dhcpType.nak;
    if (reply && isAnswer && isGood({ reply, source: peer.address }, peer.port)) {
      done.resolve({ reply, source: peer.address });
    }
  });
  try {
    for (let attempt = 1; attempt <= attempts; attempt += 1) {
      endpoint.send(packet, to);
      const answer = await Promise.race([done.promise, board.wait(everyMs)]);
      if (answer) {
        return answer;
      }
    }
    return undefined;
  } finally {
    await endpoint.close();
  }
}
