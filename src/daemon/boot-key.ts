/** The operator's key that boot.img is signed with. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { messageOf, UserError } from '../domain/errors.ts';

const modulusBits = 2048;
const hint = 'Make one: openssl genrsa -out boot-key.pem 2048; the boards need its public half in their EEPROM';

/** @throws UserError bad-input when it is no private RSA key of 2048 bits, the only kind that Pi bootloaders know */
export async function loadBootKey(path: string): Promise<KeyObject> {
  let key: KeyObject;
  try {
    key = createPrivateKey(await readFile(path));
  } catch (error) {
    throw new UserError('bad-input', `bootKey ${path} is not a private key without a passphrase: ${messageOf(error)}`, {
      hint,
      cause: error,
    });
  }
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (key.asymmetricKeyType !== 'rsa' || bits !== modulusBits) {
    const kind = `${key.asymmetricKeyType ?? 'unknown'}${bits === undefined ? '' : ` of ${bits} bits`}`;
    throw new UserError('bad-input', `bootKey ${path} is ${kind}; boards know RSA of ${modulusBits} bits only`, { hint });
  }
  return key;
}
