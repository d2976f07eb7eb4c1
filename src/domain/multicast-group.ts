import { UserError } from './errors.ts';
import { type Ipv4, parseIpv4 } from './ipv4.ts';

export interface MulticastGroup {
  readonly address: Ipv4;
  readonly port: number;
}

/** `239.255.67.1:6000` @throws UserError bad-input */
export function parseMulticastGroup(input: string): MulticastGroup {
  const [, address = '', port = ''] = /^([\d.]+):(\d{1,5})$/.exec(input.trim()) ?? [];
  const first = Number(address.split('.')[0]);
  // RFC 5771: 224.0.0.0 to 239.255.255.255.
  if (address === '' || first < 224 || first > 239 || Number(port) < 1 || Number(port) > 65_535) {
    throw new UserError('bad-input', `"${input}" is not a multicast group with a port`, { hint: 'Example: 239.255.67.1:6000' });
  }
  return { address: parseIpv4(address), port: Number(port) };
}
