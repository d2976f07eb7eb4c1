import { UserError } from './errors.ts';

declare const brand: unique symbol;
/** A dotted IPv4 address without leading zeros (`10.0.0.15`). */
export type Ipv4 = string & { readonly [brand]: 'Ipv4' };

/** @throws UserError bad-input */
export function parseIpv4(input: string): Ipv4 {
  const parts = input.trim().split('.');
  const good = parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
  if (!good) {
    throw new UserError('bad-input', `"${input}" is not an IPv4 address`, { hint: 'Example: 192.168.1.15' });
  }
  return parts.join('.') as Ipv4;
}

export function ipv4ToNumber(address: Ipv4): number {
  // Every packet passes here several times, and most fields of a packet are empty.
  if (address === '0.0.0.0') {
    return 0;
  }
  let sum = 0;
  let part = 0;
  for (let at = 0; at < address.length; at += 1) {
    const code = address.charCodeAt(at);
    if (code === 46) {
      sum = sum * 256 + part;
      part = 0;
    } else {
      part = part * 10 + code - 48;
    }
  }
  return sum * 256 + part;
}

export function ipv4FromNumber(value: number): Ipv4 {
  return `${(value >>> 24) & 255}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}` as Ipv4;
}

export function ipv4FromBytes(bytes: Buffer): Ipv4 {
  return ipv4FromNumber(bytes.readUInt32BE(0));
}

export function ipv4Bytes(address: Ipv4): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(ipv4ToNumber(address));
  return bytes;
}

export const anyAddress: Ipv4 = parseIpv4('0.0.0.0');
export const limitedBroadcast: Ipv4 = parseIpv4('255.255.255.255');

/** A network: its first address and the length of its prefix in bits. */
export interface Subnet {
  readonly network: Ipv4;
  readonly prefix: number;
}

/** Reads `10.0.0.0/24`. Host bits must be zero, prefix 8 to 30. @throws UserError bad-input */
export function parseSubnet(input: string): Subnet {
  const [address = '', bits = '', ...rest] = input.split('/');
  const prefix = Number(bits);
  if (rest.length > 0 || !/^\d{1,2}$/.test(bits) || prefix < 8 || prefix > 30) {
    throw new UserError('bad-input', `"${input}" is not a subnet`, {
      hint: 'Write an address and a prefix of 8 to 30 bits, for example 192.168.50.0/24',
    });
  }
  const network = parseIpv4(address);
  const first = subnetOf(network, prefix).network;
  if (first !== network) {
    throw new UserError('bad-input', `"${input}" has host bits set`, { hint: `Did you mean ${first}/${prefix}?` });
  }
  return { network, prefix };
}

export function subnetOf(address: Ipv4, prefix: number): Subnet {
  const size = 2 ** (32 - prefix);
  return { network: ipv4FromNumber(Math.floor(ipv4ToNumber(address) / size) * size), prefix };
}

export function netmask(subnet: Subnet): Ipv4 {
  return ipv4FromNumber(2 ** 32 - 2 ** (32 - subnet.prefix));
}

export function broadcastOf(subnet: Subnet): Ipv4 {
  return ipv4FromNumber(ipv4ToNumber(subnet.network) + 2 ** (32 - subnet.prefix) - 1);
}

export function contains(subnet: Subnet, address: Ipv4): boolean {
  const size = 2 ** (32 - subnet.prefix);
  return Math.floor(ipv4ToNumber(address) / size) === Math.floor(ipv4ToNumber(subnet.network) / size);
}

/** First and last address that may be given out, both included. */
export interface AddressRange {
  readonly first: Ipv4;
  readonly last: Ipv4;
}

/** Reads `10.0.0.100-10.0.0.200`. @throws UserError bad-input */
export function parseAddressRange(input: string): AddressRange {
  const [first = '', last = '', ...rest] = input.split('-');
  const hint = { hint: 'Example: 192.168.50.100-192.168.50.200' };
  if (rest.length > 0 || last === '') {
    throw new UserError('bad-input', `"${input}" is not an address range`, hint);
  }
  const range = { first: parseIpv4(first), last: parseIpv4(last) };
  if (ipv4ToNumber(range.first) > ipv4ToNumber(range.last)) {
    throw new UserError('bad-input', `The range "${input}" ends before it begins`, hint);
  }
  return range;
}
