/** Packets to single stations of a link, by their MACs. */
import { closeSync, readFileSync } from 'node:fs';
import { type Mac, macBytes, parseMac } from '../domain/mac.ts';
import { type EtherType, hearsNothing, openPacketDescriptor, sendLinkPacket } from './libc.ts';

export interface StationPacket {
  readonly interfaceName: string;
  readonly etherType: EtherType;
  readonly to: Mac;
  /** Without its Ethernet header; told the interface's own MAC. */
  readonly packet: (from: Mac) => Buffer;
}

/** @throws SystemError; UserError where the link is no Ethernet */
export function sendToStation({ interfaceName, etherType, to, packet }: StationPacket): void {
  const about = (what: string): string => readFileSync(`/sys/class/net/${interfaceName}/${what}`, 'utf8').trim();
  const interfaceIndex = Number(about('ifindex'));
  const bytes = packet(parseMac(about('address')));
  const fd = openPacketDescriptor(interfaceIndex, hearsNothing);
  try {
    sendLinkPacket(fd, { interfaceIndex, etherType, to: macBytes(to), packet: bytes });
  } finally {
    closeSync(fd);
  }
}
