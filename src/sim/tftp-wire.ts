/** TFTP packets as boot firmware builds and reads them; not the server's codec, which is what is judged. */

export type TftpOption = readonly [name: string, value: string];

export function readRequest(filename: string, options: readonly TftpOption[]): Buffer {
  return Buffer.from(['\0\u0001', filename, '\0octet\0', ...options.map(([name, value]) => `${name}\0${value}\0`)].join(''), 'latin1');
}

export function ack(block: number): Buffer {
  const packet = Buffer.from([0, 4, 0, 0]);
  packet.writeUInt16BE(block % 65_536, 2);
  return packet;
}

export interface TftpError {
  readonly code: number;
  readonly message: string;
}

/** What Pi firmware sends when it only wanted to know whether a file is there (raspberrypi/firmware#1041). */
export const earlyTerminate: TftpError = { code: 0, message: 'Early terminate' };
/** The same of UefiPxeBcDxe, after it has learnt the size (tianocore/edk2, PxeBcMtftp.c). */
export const userAborted: TftpError = { code: 8, message: 'User aborted the transfer' };

/** RFC 2347 section 4. */
export const badOptions: TftpError = { code: 8, message: 'Option negotiation failed' };

export function errorPacket({ code, message }: TftpError): Buffer {
  return Buffer.concat([Buffer.from([0, 5, 0, code]), Buffer.from(`${message}\0`, 'latin1')]);
}

export type TftpAnswer =
  | { readonly kind: 'oack'; readonly options: ReadonlyMap<string, string> }
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
      const options = new Map<string, string>();
      for (let at = 0; at + 1 < texts.length; at += 2) {
        options.set((texts[at] ?? '').toLowerCase(), texts[at + 1] ?? '');
      }
      return { kind: 'oack', options };
    }
    default:
      return { kind: 'other' };
  }
}
