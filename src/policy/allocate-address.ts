import { type AddressRange, type Ipv4, ipv4FromNumber, ipv4ToNumber } from '../domain/ipv4.ts';
import type { Mac } from '../domain/mac.ts';

export interface AddressRequest {
  readonly mac: Mac;
  readonly pool: AddressRange;
  /** What the operator wrote for this node. */
  readonly wanted?: Ipv4;
  /** What this MAC had before. */
  readonly held?: Ipv4;
  /** What the client would like (option 50). */
  readonly asked?: Ipv4;
  /** Held by others, reserved for others, or ours. */
  readonly isTaken: (address: Ipv4) => boolean;
}

/**
 * The address for a MAC: the operator's choice, else the one it had, else the one it asks for, else a free one. The search begins at a place
 * that depends on the MAC, so that a board finds its old address again even when all records are lost.
 * Undefined when the pool is full.
 */
export function allocateAddress(request: AddressRequest): Ipv4 | undefined {
  const { mac, pool, wanted, held, asked, isTaken } = request;
  if (wanted !== undefined) {
    return wanted;
  }
  const first = ipv4ToNumber(pool.first);
  const size = ipv4ToNumber(pool.last) - first + 1;
  for (const liked of [held, asked]) {
    const place = liked === undefined ? -1 : ipv4ToNumber(liked) - first;
    if (liked !== undefined && place >= 0 && place < size && !isTaken(liked)) {
      return liked;
    }
  }
  const start = [...mac].reduce((hash, char) => (Math.imul(hash, 31) + char.charCodeAt(0)) >>> 0, 7) % size;
  for (let step = 0; step < size; step += 1) {
    const address = ipv4FromNumber(first + ((start + step) % size));
    if (!isTaken(address)) {
      return address;
    }
  }
  return undefined;
}
