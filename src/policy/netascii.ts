/** The text form of TFTP mode netascii (RFC 1350 section 1, RFC 764): line ends are CR LF, a lone CR is CR NUL. */
const cr = 0x0d;
const lf = 0x0a;

/** A file with Unix line ends as it goes over the wire. */
export function toNetascii(bytes: Buffer): Buffer {
  const extra = bytes.reduce((count, byte) => count + (byte === lf || byte === cr ? 1 : 0), 0);
  const text = Buffer.alloc(bytes.length + extra);
  let at = 0;
  for (const byte of bytes) {
    if (byte === lf) {
      text[at++] = cr;
    }
    text[at++] = byte;
    if (byte === cr) {
      text[at++] = 0;
    }
  }
  return text;
}
