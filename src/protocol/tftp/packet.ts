/**
 * TFTP packets (RFC 1350 section 5, options RFC 2347-2349).
 *
 *   RRQ/WRQ  opcode 2 | filename 0 | mode 0 | (option 0 | value 0)*
 *   DATA     opcode 2 | block 2 | 0 to blksize bytes
 *   ACK      opcode 2 | block 2
 *   ERROR    opcode 2 | code 2 | message 0
 *   OACK     opcode 2 | (option 0 | value 0)*
 */
import { DecodeError } from '../../domain/errors.ts';
import { Reader } from '../bytes/reader.ts';

export const Opcode = { Rrq: 1, Wrq: 2, Data: 3, Ack: 4, Error: 5, Oack: 6 } as const;

export const TftpErrorCode = {
  Undefined: 0,
  FileNotFound: 1,
  AccessViolation: 2,
  DiskFull: 3,
  IllegalOperation: 4,
  UnknownTransferId: 5,
  FileExists: 6,
  NoSuchUser: 7,
  OptionNegotiation: 8,
} as const;

export interface TftpOption {
  /** As the client wrote it; compare without case (RFC 2347). */
  readonly name: string;
  readonly value: string;
}

export type TftpPacket =
  | { readonly kind: 'rrq' | 'wrq'; readonly filename: string; readonly mode: string; readonly options: readonly TftpOption[] }
  | { readonly kind: 'data'; readonly block: number; readonly data: Buffer }
  | { readonly kind: 'ack'; readonly block: number }
  | { readonly kind: 'error'; readonly code: number; readonly message: string }
  | { readonly kind: 'oack'; readonly options: readonly TftpOption[] };

/** @throws DecodeError */
export function decodeTftp(bytes: Buffer): TftpPacket {
  const reader = new Reader(bytes);
  const opcode = reader.u16('opcode');
  switch (opcode) {
    case Opcode.Rrq:
    case Opcode.Wrq: {
      const filename = reader.text('filename');
      const mode = reader.text('mode');
      return { kind: opcode === Opcode.Rrq ? 'rrq' : 'wrq', filename, mode, options: readOptions(reader) };
    }
    case Opcode.Data:
      return { kind: 'data', block: reader.u16('block'), data: reader.rest() };
    case Opcode.Ack:
      return { kind: 'ack', block: reader.u16('block') };
    case Opcode.Error: {
      const code = reader.u16('error code');
      // Some clients leave out the NUL after the message; the code is what counts.
      const message = reader.rest().toString('latin1');
      return { kind: 'error', code, message: message.split('\0')[0] ?? '' };
    }
    case Opcode.Oack:
      return { kind: 'oack', options: readOptions(reader) };
    default:
      throw new DecodeError(`opcode ${opcode} is unknown`, 0);
  }
}

function readOptions(reader: Reader): TftpOption[] {
  const options: TftpOption[] = [];
  while (reader.left > 0) {
    const name = reader.text('option name');
    options.push({ name, value: reader.text(`value of ${name}`) });
  }
  return options;
}

export function encodeTftp(packet: TftpPacket): Buffer {
  switch (packet.kind) {
    case 'rrq':
    case 'wrq':
      return Buffer.concat([
        opcodeBytes(packet.kind === 'rrq' ? Opcode.Rrq : Opcode.Wrq),
        nulText(packet.filename),
        nulText(packet.mode),
        ...optionBytes(packet.options),
      ]);
    case 'data': {
      const head = Buffer.alloc(4);
      head.writeUInt16BE(Opcode.Data, 0);
      head.writeUInt16BE(packet.block, 2);
      return Buffer.concat([head, packet.data]);
    }
    case 'ack': {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt16BE(Opcode.Ack, 0);
      bytes.writeUInt16BE(packet.block, 2);
      return bytes;
    }
    case 'error': {
      const head = Buffer.alloc(4);
      head.writeUInt16BE(Opcode.Error, 0);
      head.writeUInt16BE(packet.code, 2);
      return Buffer.concat([head, nulText(packet.message)]);
    }
    case 'oack':
      return Buffer.concat([opcodeBytes(Opcode.Oack), ...optionBytes(packet.options)]);
    default:
      return packet satisfies never;
  }
}

function opcodeBytes(opcode: number): Buffer {
  return Buffer.from([0, opcode]);
}

function optionBytes(options: readonly TftpOption[]): Buffer[] {
  return options.flatMap((option) => [nulText(option.name), nulText(option.value)]);
}

function nulText(text: string): Buffer {
  if (text.includes('\0')) {
    throw new RangeError('a TFTP text cannot hold a NUL');
  }
  return Buffer.from(`${text}\0`, 'latin1');
}
