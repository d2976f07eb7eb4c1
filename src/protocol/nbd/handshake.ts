/**
 * The start of an NBD connection (NBD protocol, "Newstyle negotiation"): what a probe needs to know that a server
 * really serves.
 *
 *   server: "NBDMAGIC" 8 | "IHAVEOPT" 8 | handshake flags 2
 *   client: client flags 4 | "IHAVEOPT" 8 | option 4 | length 4
 *   server: option reply magic 8 | option 4 | reply type 4 | length 4
 */
import { DecodeError } from '../../domain/errors.ts';
import { Reader } from '../bytes/reader.ts';

const initPasswd = 'NBDMAGIC';
const iHaveOpt = 'IHAVEOPT';
const optionReplyMagic = Buffer.from('0003e889045565a9', 'hex');

export const greetingBytes = 18;
export const optionReplyBytes = 20;

export const NbdOption = { List: 3 } as const;

/** @throws DecodeError when this is not a newstyle NBD server */
export function decodeGreeting(bytes: Buffer): { readonly handshakeFlags: number } {
  const reader = new Reader(bytes);
  if (reader.take(8, 'init password').toString('latin1') !== initPasswd) {
    throw new DecodeError('greeting does not begin with NBDMAGIC', 0);
  }
  if (reader.take(8, 'option magic').toString('latin1') !== iHaveOpt) {
    throw new DecodeError('server does not speak newstyle negotiation', 8);
  }
  return { handshakeFlags: reader.u16('handshake flags') };
}

/**
 * Client flags (fixed newstyle, no zeroes) and NBD_OPT_LIST. Whatever the reply's type is, a list or a refusal to list,
 * it shows that the server negotiates. (nbd-server 3.24 ends the connection at NBD_OPT_ABORT without a reply.)
 */
export function encodeListRequest(): Buffer {
  const bytes = Buffer.alloc(20);
  bytes.writeUInt32BE(3, 0);
  bytes.write(iHaveOpt, 4, 'latin1');
  bytes.writeUInt32BE(NbdOption.List, 12);
  bytes.writeUInt32BE(0, 16);
  return bytes;
}

/** @throws DecodeError */
export function decodeOptionReply(bytes: Buffer): { readonly option: number; readonly type: number } {
  const reader = new Reader(bytes);
  if (!reader.take(8, 'option reply magic').equals(optionReplyMagic)) {
    throw new DecodeError('option reply has the wrong magic', 0);
  }
  return { option: reader.u32('option'), type: reader.u32('reply type') };
}
