import { UserError } from './errors.ts';

declare const brand: unique symbol;
/** An Ethernet address: lower case, colons (`b8:27:eb:6c:4c:16`). */
export type Mac = string & { readonly [brand]: 'Mac' };

/** Accepts colons, dashes or nothing between the octets. @throws UserError bad-input */
export function parseMac(input: string): Mac {
  const digits = input.trim().toLowerCase().replaceAll(/[:-]/g, '');
  if (!/^[0-9a-f]{12}$/.test(digits)) {
    throw new UserError('bad-input', `"${input}" is not a MAC address`, { hint: 'Example: b8:27:eb:6c:4c:16' });
  }
  return (digits.match(/../g) ?? []).join(':') as Mac;
}

export function macFromBytes(bytes: Buffer): Mac {
  const digits = bytes.toString('hex', 0, 6);
  return digits.length === 12
    ? (`${digits.slice(0, 2)}:${digits.slice(2, 4)}:${digits.slice(4, 6)}:${digits.slice(6, 8)}:${digits.slice(8, 10)}:${digits.slice(10)}` as Mac)
    : parseMac(digits);
}

export function macBytes(mac: Mac): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}
