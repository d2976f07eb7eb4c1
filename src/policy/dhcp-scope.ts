/** Which subnet a client is in (RFC 2131 section 4.3.1; RFC 3011 for option 118). */
import { type AddressRange, anyAddress, contains, type Ipv4, type Subnet } from '../domain/ipv4.ts';
import { addressOption, type DhcpMessage } from '../protocol/dhcp/message.ts';
import { OptionCode } from '../protocol/dhcp/option-code.ts';

/** A subnet that we give addresses of. */
export interface Scope {
  readonly subnet: Subnet;
  readonly pool: AddressRange;
  readonly router?: Ipv4;
  readonly dns: readonly Ipv4[];
}

/**
 * What option 118 or the relay's address says, else the link that the request came in by, which is the first scope.
 * Undefined when that is a subnet that we do not serve.
 */
export function chooseScope(request: DhcpMessage, scopes: readonly [Scope, ...Scope[]]): Scope | undefined {
  const place = addressOption(request, OptionCode.SubnetSelection) ?? request.giaddr;
  return place === anyAddress ? scopes[0] : scopes.find(({ subnet }) => contains(subnet, place));
}

/** The relay passed the request on from another link: nothing there can be asked directly. */
export function isRelayed(request: DhcpMessage): boolean {
  return request.giaddr !== anyAddress;
}
