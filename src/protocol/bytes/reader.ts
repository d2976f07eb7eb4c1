import { DecodeError } from '../../domain/errors.ts';

/** Reads a datagram from front to back. A short read is a DecodeError, never a short buffer. */
export class Reader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get offset(): number {
    return this.#offset;
  }

  get left(): number {
    return this.#bytes.length - this.#offset;
  }

  u8(what: string): number {
    return this.take(1, what).readUInt8(0);
  }

  u16(what: string): number {
    return this.take(2, what).readUInt16BE(0);
  }

  u32(what: string): number {
    return this.take(4, what).readUInt32BE(0);
  }

  take(length: number, what: string): Buffer {
    if (this.left < length) {
      throw new DecodeError(`${what} is cut short`, this.#offset);
    }
    const part = this.#bytes.subarray(this.#offset, this.#offset + length);
    this.#offset += length;
    return part;
  }

  rest(): Buffer {
    return this.take(this.left, 'rest');
  }

  /** Text up to the next NUL, which is read too. Latin-1, so that every byte survives. */
  text(what: string): string {
    const end = this.#bytes.indexOf(0, this.#offset);
    if (end === -1) {
      throw new DecodeError(`${what} has no NUL`, this.#offset);
    }
    const text = this.#bytes.toString('latin1', this.#offset, end);
    this.#offset = end + 1;
    return text;
  }
}
