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
    return this.#bytes.readUInt8(this.#skip(1, what));
  }

  u16(what: string): number {
    return this.#bytes.readUInt16BE(this.#skip(2, what));
  }

  u32(what: string): number {
    return this.#bytes.readUInt32BE(this.#skip(4, what));
  }

  take(length: number, what: string): Buffer {
    const start = this.#skip(length, what);
    return this.#bytes.subarray(start, start + length);
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

  /** Where the skipped part begins. */
  #skip(length: number, what: string): number {
    const start = this.#offset;
    if (this.#bytes.length - start < length) {
      throw new DecodeError(`${what} is cut short`, start);
    }
    this.#offset = start + length;
    return start;
  }
}
