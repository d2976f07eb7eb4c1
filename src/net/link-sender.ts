/** Sends packets of one kind to single stations of a link, by their MACs. */
import { closeSync, readFileSync } from 'node:fs';
import { type Mac, macBytes, parseMac } from '../domain/mac.ts';
import { type EtherType, hearsNothing, openPacketDescriptor, sendLinkPacket } from './libc.ts';

export interface LinkSender extends Disposable {
  /** The interface's own. */
  readonly mac: Mac;
  /** @throws SystemError */
  readonly send: (packet: Buffer, to: Mac) => void;
}

/** @throws SystemError */
export function openLinkSender(interfaceName: string, etherType: EtherType): LinkSender {
  const about = (what: string): string => readFileSync(`/sys/class/net/${interfaceName}/${what}`, 'utf8').trim();
  const interfaceIndex = Number(about('ifindex'));
  const fd = openPacketDescriptor(interfaceIndex, hearsNothing);
  return {
    mac: parseMac(about('address')),
    send: (packet, to) => sendLinkPacket(fd, { interfaceIndex, etherType, to: macBytes(to), packet }),
    [Symbol.dispose]: () => closeSync(fd),
  };
}
