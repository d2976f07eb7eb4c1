/** Who answers for an address on a link (RFC 826; the question as in RFC 5227 section 2.1.1). */
import { closeSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Ipv4, ipv4Bytes, ipv4FromBytes } from '../domain/ipv4.ts';
import { type Mac, macBytes, macFromBytes, parseMac } from '../domain/mac.ts';
import { openPacketDescriptor, receivePacket, sendLinkPacket } from './libc.ts';

const ETH_P_ARP = 0x0806;
const opRequest = 1;
const opReply = 2;
const packetBytes = 28;
const pollMs = 10;
/** A machine that is there answers within a few; a client waits for seconds before it asks again. */
const waitMs = 250;

export interface WhoHas {
  readonly interfaceName: string;
  readonly address: Ipv4;
}

/** Undefined when nobody answers in time. @throws SystemError */
export async function askWhoHas({ interfaceName, address }: WhoHas): Promise<Mac | undefined> {
  const index = Number(readFileSync(`/sys/class/net/${interfaceName}/ifindex`, 'utf8'));
  const own = parseMac(readFileSync(`/sys/class/net/${interfaceName}/address`, 'utf8'));
  const fd = openPacketDescriptor(index, ETH_P_ARP);
  try {
    const buffer = Buffer.alloc(1500);
    sendLinkPacket(fd, { interfaceIndex: index, etherType: ETH_P_ARP, packet: arpProbe(own, address) });
    for (let waited = 0; waited < waitMs; waited += pollMs) {
      await sleep(pollMs);
      for (let packet = receivePacket(fd, buffer); packet; packet = receivePacket(fd, buffer)) {
        const owner = arpOwner(packet, address);
        if (owner !== undefined) {
          return owner;
        }
      }
    }
    return undefined;
  } finally {
    closeSync(fd);
  }
}

/** With the sender's address left empty, so that nobody learns anything from the question. */
export function arpProbe(sender: Mac, target: Ipv4): Buffer {
  const packet = Buffer.alloc(packetBytes);
  // Ethernet, IPv4, their lengths.
  packet.write('0001080006040000', 0, 'hex');
  packet.writeUInt16BE(opRequest, 6);
  macBytes(sender).copy(packet, 8);
  ipv4Bytes(target).copy(packet, 24);
  return packet;
}

/** Whose reply for this address it is; undefined for every other packet. */
export function arpOwner(packet: Buffer, address: Ipv4): Mac | undefined {
  const isReply = packet.length >= packetBytes && packet.readUInt16BE(6) === opReply;
  return isReply && ipv4FromBytes(packet.subarray(14, 18)) === address ? macFromBytes(packet.subarray(8)) : undefined;
}
