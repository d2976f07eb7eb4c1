import { UserError } from './errors.ts';

declare const brand: unique symbol;
/** A line of authorized_keys without options: type, base64, and a comment at most. */
export type PublicKey = string & { readonly [brand]: 'PublicKey' };

const types = /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com)$/;

/**
 * The type stands in the key's own bytes as well (RFC 4253 section 6.6: a string of 4 bytes of length and the name), so
 * a key that was cut off or mixed up is seen here and not at the first login.
 * @throws UserError bad-input
 */
export function parsePublicKey(input: string): PublicKey {
  const line = input.trim();
  const [type = '', base64 = ''] = line.split(/[ \t]+/, 2);
  const bytes = Buffer.from(base64, 'base64');
  const isWhole =
    /^[A-Za-z0-9+/]{16,}={0,2}$/.test(base64) &&
    bytes.length > 4 + type.length &&
    bytes.readUInt32BE(0) === type.length &&
    bytes.toString('latin1', 4, 4 + type.length) === type;
  if (!types.test(type) || !isWhole || /[^\x20-\x7e\u00a0-\uffff]/.test(line)) {
    const shown = line.length > 60 ? `${line.slice(0, 57)}...` : line;
    const secret = /PRIVATE KEY/.test(line);
    throw new UserError('bad-input', secret ? 'This is a private key' : `"${shown}" is not a public SSH key`, {
      hint: secret
        ? 'Give the file beside it that ends in .pub'
        : 'One line of an id_ed25519.pub file: ssh-ed25519 AAAA... name. ssh-keygen -t ed25519 makes a pair',
    });
  }
  return line as PublicKey;
}
