import { DecodeError, messageOf } from '../../domain/errors.ts';
import { decodeTftp, type TftpPacket } from '../../protocol/tftp/packet.ts';

/** Undefined for what is no TFTP packet, which is told. */
export function readPacket(data: Buffer, onBadPacket: (reason: string) => void): TftpPacket | undefined {
  try {
    return decodeTftp(data);
  } catch (error) {
    if (error instanceof DecodeError) {
      onBadPacket(messageOf(error));
      return undefined;
    }
    throw error;
  }
}
