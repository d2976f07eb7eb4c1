import { DecodeError } from '../../domain/errors.ts';

/** Where the name that begins here ends (RFC 1035 sections 3.1 and 4.1.4). A pointer is its end, wherever it leads. @throws DecodeError */
export function skipName(bytes: Buffer, offset: number): { readonly end: number; readonly isCompressed: boolean } {
  for (let at = offset; at < bytes.length; ) {
    const length = bytes.readUInt8(at);
    if (length === 0) {
      return { end: at + 1, isCompressed: false };
    }
    if (length >= 0xc0) {
      return { end: at + 2, isCompressed: true };
    }
    if (length > 63) {
      throw new DecodeError('label of an unknown kind', at);
    }
    at += 1 + length;
    if (at - offset > 254) {
      throw new DecodeError('name is too long', at);
    }
  }
  throw new DecodeError('name is cut off', bytes.length);
}

/** A name that is not compressed, without the final dot; undefined when a label of it is not plain text. */
export function textOfName(bytes: Buffer): string | undefined {
  const labels: string[] = [];
  for (let at = 0; at < bytes.length - 1; at += 1 + bytes.readUInt8(at)) {
    const label = bytes.toString('latin1', at + 1, at + 1 + bytes.readUInt8(at));
    if (!/^[\x21-\x2d\x2f-\x7e]+$/.test(label)) {
      return undefined;
    }
    labels.push(label);
  }
  return labels.join('.');
}

/** @param name plain text, without the final dot */
export function encodeName(name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, 'latin1')]));
  return Buffer.concat([...labels, Buffer.from([0])]);
}
