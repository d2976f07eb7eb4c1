/** How the boot ROMs and boot loaders of Raspberry Pis come by an address and a TFTP server. */
import { UserError } from '../domain/errors.ts';
import { anyAddress, type Ipv4, limitedBroadcast, parseIpv4 } from '../domain/ipv4.ts';
import type { Serial } from '../domain/serial.ts';
import type { Board } from './board.ts';
import { dhcpRequest, dhcpType, optionAddress, optionText, type Reply, type Request, readReply } from './dhcp-wire.ts';
import type { RomQuirks } from './models.ts';

/** The mask ROM and bootcode.bin use this transaction id for every boot of every board. */
export const piXid = 0x26f30339;
const menuText = 'Raspberry Pi Boot';
const dotted = /^\d+\.\d+\.\d+\.\d+$/;
const defaultMask = parseIpv4('255.255.255.0');

const discoverEveryMs = 5000;
/** A receive of the 3B's ROM ends after about a second in which nothing came, not always the same. */
const receiveMs = 1000;
const receiveJitterMs = 300;
const actsAfterMs = 1000;

/** Option 55 of the 3B's ROM; bootcode.bin and the 3B+ add 1 and 3 at its end (raspberrypi/firmware#871). */
const romList = [0x2b, 0x3c, 0x43, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x42];
/** The EEPROM's, in its order (Technitium DnsServer#183). */
const eepromList = [0x01, 0x03, 0x2b, 0x3c, 0x42, 0x43, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87];
const vendorClass = 'PXEClient:Arch:00000:UNDI:002001';

export interface Lease {
  readonly yiaddr: Ipv4;
  readonly mask: Ipv4;
  readonly server: Ipv4;
}

export function romDiscover(board: Board, hidesSerial: boolean): Buffer {
  const { mac, serial } = board.options;
  const list = hidesSerial ? romList : [...romList, 1, 3];
  const guid = hidesSerial ? Buffer.alloc(16, 0x44) : Buffer.concat(Array.from({ length: 4 }, () => serialWord(serial)));
  return dhcpRequest({ mac, xid: piXid, options: pxeOptions(dhcpType.discover, list, guid, true) });
}

export function eepromMessage(board: Board, type: number, xid: number, guid: Buffer, more: Request['options'] = []): Buffer {
  // The REQUEST lacks option 60 (raspberrypi/rpi-eeprom#82, #87).
  const options = pxeOptions(type, eepromList, guid, type === dhcpType.discover);
  return dhcpRequest({ mac: board.options.mac, xid, options: [...options, ...more] });
}

function pxeOptions(type: number, list: readonly number[], guid: Buffer, hasVendorClass: boolean): Request['options'] {
  return [
    [53, [type]],
    [55, list],
    [93, [0, 0]],
    [94, [1, 2, 1]],
    [97, Buffer.concat([Buffer.from([0]), guid])],
    ...(hasVendorClass ? ([[60, vendorClass]] as const) : []),
  ];
}

export function serialWord(serial: Serial): Buffer {
  const word = Buffer.alloc(4);
  word.writeUInt32LE(Number.parseInt(serial, 16));
  return word;
}

/** Options are read in order, and a later one replaces what an earlier one said (openSUSE/netboot-rpi3b). */
export function tftpServerOf(reply: Reply, source: Ipv4, wantedText: string = menuText): Ipv4 | undefined {
  let server: Ipv4 | undefined;
  for (const [code, data] of reply.options) {
    if (code === 43 && data.includes(wantedText)) {
      server = source;
    } else if (code === 66 && dotted.test(data.toString('latin1'))) {
      server = parseIpv4(data.toString('latin1'));
    }
  }
  return server;
}

/** What is wrong with an offer that names a TFTP server, though this board may have taken it. */
export function checkBootOffer(reply: Reply, source: Ipv4, server: Ipv4, complain: (text: string) => void): void {
  const identifier = optionAddress(reply, 54);
  if (identifier !== source) {
    complain(`option 54 is ${identifier ?? 'absent'}, the offer came from ${source}`);
  }
  if (server !== source) {
    complain(`the offer came from ${source} and names ${server} for TFTP`);
  }
  const name = optionText(reply, 66);
  if (name !== undefined && !dotted.test(name)) {
    complain(`option 66 is not a plain dotted address: ${JSON.stringify(name)}`);
  }
  const menu = reply.options.get(43);
  if (menu && !isMenu(menu)) {
    complain(`option 43 is not a PXE menu that says "${menuText}": ${menu.toString('hex')}`);
  }
}

/** PXE 2.1 table 2-1: sub-options 6, 9 and 10, each with its length, then 255. The bare text works as well. */
function isMenu(data: Buffer): boolean {
  if (data.toString('latin1').trimEnd() === menuText) {
    return true;
  }
  let at = 0;
  let hasText = false;
  while (at < data.length && data[at] !== 255) {
    const content = data.subarray(at + 2, at + 2 + (data[at + 1] ?? 0));
    if (data[at] === 9) {
      hasText = content.subarray(3).includes(menuText) && content.length === (content[2] ?? 0) + 3;
    }
    at += 2 + (data[at + 1] ?? 0);
  }
  return hasText && at === data.length - 1;
}

// ---- mask ROM and bootcode.bin: no REQUEST is ever sent ----

interface Heard {
  lease: { readonly yiaddr: Ipv4; readonly mask: Ipv4 } | undefined;
  server: Ipv4 | undefined;
  readonly sources: Map<Ipv4, number>;
}

/** @throws UserError unavailable after all attempts */
export async function offerOnlyDhcp(board: Board, stage: 'rom' | 'bootcode', quirks: RomQuirks, attempts: number): Promise<Lease> {
  const packet = romDiscover(board, quirks.hidesSerial);
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    board.checkPower();
    board.options.onEvent({ kind: 'discover', stage, attempt });
    const startedAt = board.clock.now();
    const lease = await attemptOffer(board, packet, quirks);
    if (lease) {
      board.options.onEvent({ kind: 'offer', stage, address: lease.yiaddr, server: lease.server });
      return lease;
    }
    const left = startedAt + discoverEveryMs - board.clock.now();
    if (left > 0) {
      await board.wait(left);
    }
  }
  throw new UserError('unavailable', `${stage}: no DHCP server made a usable offer in ${attempts} attempts`, {
    hint: 'The board is not registered, or its offer lacks option 43 or 66: cardless node list --unclaimed',
  });
}

async function attemptOffer(board: Board, packet: Buffer, quirks: RomQuirks): Promise<Lease | undefined> {
  const { network, clock } = board;
  const heard: Heard = { lease: undefined, server: undefined, sources: new Map() };
  const done = Promise.withResolvers<Lease | undefined>();
  const startedAt = clock.now();
  let cancelReceive: () => void = () => {};
  const complete = (): Lease | undefined => (heard.lease && heard.server ? { ...heard.lease, server: heard.server } : undefined);
  const receiveAgain = (): void => {
    cancelReceive();
    const ms = quirks.needsLaterFrame ? receiveMs + board.options.random() * receiveJitterMs : discoverEveryMs;
    cancelReceive = clock.after(ms, () => done.resolve(undefined));
  };
  const onFrame = (): void => {
    if (!quirks.needsLaterFrame) {
      return;
    }
    receiveAgain();
    if (clock.now() > startedAt + actsAfterMs && complete()) {
      done.resolve(complete());
    }
  };
  const stopListening = network.onFrame?.(onFrame);
  const endpoint = network.openUdp(anyAddress, 68, (data, peer) => {
    if (!stopListening) {
      onFrame();
    }
    const reply = readReply(data, board.options.mac, piXid);
    if (reply?.type !== dhcpType.offer || (quirks.hopsCheck && (reply.hops > 0 || reply.giaddr !== anyAddress))) {
      return;
    }
    store(board, heard, reply, peer.address, quirks);
    if (isLockedUp(heard, quirks)) {
      done.reject(
        new UserError('failed', `Two different OFFERs within ${quirks.lockupOnDualMs} ms: this ROM hangs (raspberrypi/firmware#934)`),
      );
    } else if (!quirks.needsLaterFrame && complete()) {
      done.resolve(complete());
    }
  });
  try {
    endpoint.send(packet, { address: limitedBroadcast, port: 67 });
    receiveAgain();
    return await done.promise;
  } finally {
    cancelReceive();
    stopListening?.();
    await endpoint.close();
  }
}

function store(board: Board, heard: Heard, reply: Reply, source: Ipv4, quirks: RomQuirks): void {
  if (!heard.sources.has(source)) {
    heard.sources.set(source, board.clock.now());
  }
  // As a proxy answers beside the router, address and server may come in two offers.
  if (reply.yiaddr !== anyAddress) {
    heard.lease = { yiaddr: reply.yiaddr, mask: optionAddress(reply, 1) ?? defaultMask };
  }
  const server = tftpServerOf(reply, source, quirks.threeSpaces ? `${menuText}   ` : menuText);
  if (server) {
    heard.server = server;
    checkBootOffer(reply, source, server, board.complain);
  }
}

function isLockedUp(heard: Heard, quirks: RomQuirks): boolean {
  const times = [...heard.sources.values()];
  return quirks.lockupOnDualMs > 0 && times.length > 1 && Math.max(...times) - Math.min(...times) < quirks.lockupOnDualMs;
}

// ---- EEPROM: DISCOVER, OFFER, REQUEST, ACK ----

export interface DoraTiming {
  /** DHCP_REQ_TIMEOUT. */
  readonly resendMs: number;
  /** DHCP_TIMEOUT. */
  readonly totalMs: number;
}

/** @throws UserError unavailable when the time is over */
export async function eepromDhcp(board: Board, guid: Buffer, timing: DoraTiming): Promise<Lease> {
  const { network, clock } = board;
  const xid = Math.floor(board.options.random() * 0xffffffff);
  const done = Promise.withResolvers<Lease>();
  const everybody = { address: limitedBroadcast, port: 67 };
  let lease: { yiaddr: Ipv4; mask: Ipv4; identifier: Ipv4 } | undefined;
  let server: Ipv4 | undefined;
  let isRequesting = false;
  let attempt = 0;
  let cancelResend: () => void = () => {};
  const send = (): void => {
    cancelResend();
    cancelResend = clock.after(timing.resendMs, send);
    if (isRequesting && lease) {
      const chosen: Request['options'] = [
        [50, addressBytes(lease.yiaddr)],
        [54, addressBytes(lease.identifier)],
      ];
      endpoint.send(eepromMessage(board, dhcpType.request, xid, guid, chosen), everybody);
      return;
    }
    attempt += 1;
    board.options.onEvent({ kind: 'discover', stage: 'eeprom', attempt });
    endpoint.send(eepromMessage(board, dhcpType.discover, xid, guid), everybody);
  };
  const onOffer = (reply: Reply, source: Ipv4): void => {
    const boot = tftpServerOf(reply, source);
    if (boot) {
      checkBootOffer(reply, source, boot, board.complain);
      server = boot;
    }
    const identifier = optionAddress(reply, 54);
    if (reply.yiaddr !== anyAddress && identifier && !isRequesting) {
      lease = { yiaddr: reply.yiaddr, mask: optionAddress(reply, 1) ?? defaultMask, identifier };
    }
    if (lease && server && !isRequesting) {
      isRequesting = true;
      send();
    }
  };
  const endpoint = network.openUdp(anyAddress, 68, (data, peer) => {
    const reply = readReply(data, board.options.mac, xid);
    if (reply?.type === dhcpType.offer) {
      onOffer(reply, peer.address);
    } else if (reply?.type === dhcpType.nak && isRequesting) {
      isRequesting = false;
      lease = undefined;
      send();
    } else if (reply?.type === dhcpType.ack && isRequesting && lease && server && peer.address === lease.identifier) {
      if (reply.yiaddr !== lease.yiaddr) {
        board.complain(`the ACK gives ${reply.yiaddr}, the OFFER gave ${lease.yiaddr}`);
      }
      done.resolve({ yiaddr: reply.yiaddr, mask: lease.mask, server: tftpServerOf(reply, peer.address) ?? server });
    }
  });
  const cancelTotal = clock.after(timing.totalMs, () =>
    done.reject(
      new UserError('unavailable', `eeprom: no usable DHCP answer within ${timing.totalMs / 1000} s`, {
        hint: 'The board is not registered, or its offer lacks option 43 or 66: cardless node list --unclaimed',
      }),
    ),
  );
  try {
    send();
    const bound = await done.promise;
    board.options.onEvent({ kind: 'offer', stage: 'eeprom', address: bound.yiaddr, server: bound.server });
    return bound;
  } finally {
    cancelTotal();
    cancelResend();
    await endpoint.close();
  }
}

export function addressBytes(address: Ipv4): Buffer {
  return Buffer.from(address.split('.').map(Number));
}

/** Option 97 of an EEPROM boot loader: fourcc, revision code, end of the MAC, serial (2711 release notes 2020-03-16). */
export function eepromGuid(fourcc: string, revision: number, mac: string, serial: Serial): Buffer {
  const code = Buffer.alloc(4);
  code.writeUInt32LE(revision);
  return Buffer.concat([Buffer.from(fourcc, 'hex'), code, Buffer.from(mac.replaceAll(':', '').slice(4), 'hex'), serialWord(serial)]);
}
