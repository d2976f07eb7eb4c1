/**
 * Packets as boot firmware builds and reads them. Written from the client's side and on its own: the simulator judges
 * the server, so it must not share the server's codec, or a mistake in it would cancel out.
 */
import { type Ipv4, ipv4FromBytes } from '../domain/ipv4.ts';
import { type Mac, macBytes } from '../domain/mac.ts';
import type { Serial } from '../domain/serial.ts';

/** The mask ROM and bootcode.bin use this transaction id for every boot of every board. */
export const piXid = 0x26f30339;

/** Option 55 of bootcode.bin and the 3B+ (raspberrypi/firmware#871): the ROM's twelve codes, then 1 and 3. */
const requestList = [0x2b, 0x3c, 0x43, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x42, 0x01, 0x03];

/** The DISCOVER of a 3B+ and of bootcode.bin: 322 bytes, as captured. */
export function piDiscover(mac: Mac, serial: Serial): Buffer {
  const packet = Buffer.alloc(240);
  packet.set([1, 1, 6, 0], 0);
  packet.writeUInt32BE(piXid, 4);
  macBytes(mac).copy(packet, 28);
  packet.writeUInt32BE(0x63825363, 236);
  const word = Buffer.alloc(4);
  word.writeUInt32LE(Number.parseInt(serial, 16));
  return Buffer.concat([
    packet,
    Buffer.from([53, 1, 1]),
    Buffer.from([55, requestList.length, ...requestList]),
    Buffer.from([93, 2, 0, 0]),
    Buffer.from([94, 3, 1, 2, 1]),
    Buffer.from([97, 17, 0]),
    word,
    word,
    word,
    word,
    Buffer.from([60, 32]),
    Buffer.from('PXEClient:Arch:00000:UNDI:002001', 'latin1'),
    Buffer.from([255]),
  ]);
}

export interface Offer {
  readonly yiaddr: Ipv4;
  readonly serverIdentifier?: Ipv4;
  readonly subnetMask?: Ipv4;
  readonly vendorSpecific?: Buffer;
  readonly tftpServerName?: string;
  /** Codes in the order in which they came: later ones win where two name a server. */
  readonly order: readonly number[];
}

/** An OFFER for this board, or undefined: firmware passes over whatever else it hears. */
export function readOffer(packet: Buffer, mac: Mac, xid: number): Offer | undefined {
  const isMine =
    packet.length >= 244 &&
    packet[0] === 2 &&
    packet.readUInt32BE(4) === xid &&
    packet.subarray(28, 34).equals(macBytes(mac)) &&
    packet.readUInt32BE(236) === 0x63825363;
  if (!isMine) {
    return undefined;
  }
  const options = new Map<number, Buffer>();
  let at = 240;
  while (at < packet.length && packet[at] !== 255) {
    const code = packet[at] ?? 0;
    if (code === 0) {
      at += 1;
      continue;
    }
    const length = packet[at + 1] ?? 0;
    options.set(code, packet.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  if (options.get(53)?.[0] !== 2) {
    return undefined;
  }
  const address = (code: number): Ipv4 | undefined => {
    const data = options.get(code);
    return data?.length === 4 ? ipv4FromBytes(data) : undefined;
  };
  const serverIdentifier = address(54);
  const subnetMask = address(1);
  const vendorSpecific = options.get(43);
  const tftpServerName = options.get(66)?.toString('latin1');
  return {
    yiaddr: ipv4FromBytes(packet.subarray(16, 20)),
    order: [...options.keys()],
    ...(serverIdentifier ? { serverIdentifier } : {}),
    ...(subnetMask ? { subnetMask } : {}),
    ...(vendorSpecific ? { vendorSpecific } : {}),
    ...(tftpServerName === undefined ? {} : { tftpServerName }),
  };
}

/** `options` as name and value in turn; the mask ROM sends none. */
export function readRequest(filename: string, options: readonly string[]): Buffer {
  return Buffer.from(['\0\u0001', filename, '\0octet\0', ...options.map((text) => `${text}\0`)].join(''), 'latin1');
}

export function ack(block: number): Buffer {
  const packet = Buffer.from([0, 4, 0, 0]);
  packet.writeUInt16BE(block, 2);
  return packet;
}

/** What Pi firmware sends when it only wanted to know whether a file is there. */
export function earlyTerminate(): Buffer {
  return Buffer.from('\0\u0005\0\0Early terminate\0', 'latin1');
}

export type TftpAnswer =
  | { readonly kind: 'oack'; readonly tsize?: number }
  | { readonly kind: 'data'; readonly block: number; readonly data: Buffer }
  | { readonly kind: 'error'; readonly code: number; readonly message: string }
  | { readonly kind: 'other' };

export function readTftpAnswer(packet: Buffer): TftpAnswer {
  if (packet.length < 4 || packet[0] !== 0) {
    return { kind: 'other' };
  }
  switch (packet[1]) {
    case 3:
      return { kind: 'data', block: packet.readUInt16BE(2), data: packet.subarray(4) };
    case 5:
      return { kind: 'error', code: packet.readUInt16BE(2), message: packet.toString('latin1', 4).split('\0')[0] ?? '' };
    case 6: {
      const texts = packet.toString('latin1', 2).split('\0');
      const at = texts.findIndex((text, index) => index % 2 === 0 && text.toLowerCase() === 'tsize');
      const tsize = at === -1 ? undefined : Number(texts[at + 1]);
      return { kind: 'oack', ...(tsize === undefined ? {} : { tsize }) };
    }
    default:
      return { kind: 'other' };
  }
}
