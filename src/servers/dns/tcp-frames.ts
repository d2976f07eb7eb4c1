/** DNS over TCP: each message behind its length in two bytes (RFC 1035 section 4.2.2). */

const lengthBytes = 2;

export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

/** Puts messages together again, whatever pieces they come in. */
export class Deframer {
  readonly #maxBytes: number;
  // BOUNDED: one message that is not complete.
  #held = Buffer.alloc(0);

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Undefined when a message is announced that is longer than anybody needs. */
  take(chunk: Buffer): Buffer[] | undefined {
    const messages: Buffer[] = [];
    let bytes = Buffer.concat([this.#held, chunk]);
    while (bytes.length >= lengthBytes) {
      const length = bytes.readUInt16BE(0);
      if (length > this.#maxBytes) {
        return undefined;
      }
      if (bytes.length < lengthBytes + length) {
        break;
      }
      messages.push(Buffer.from(bytes.subarray(lengthBytes, lengthBytes + length)));
      bytes = bytes.subarray(lengthBytes + length);
    }
    this.#held = Buffer.from(bytes);
    return messages;
  }
}
