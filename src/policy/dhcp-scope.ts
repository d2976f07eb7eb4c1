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
 * What option 118 or the relay's address says; else the address that the client has, for it renews without its relay (RFC
 * 2131 section 4.3.2); else the link that the request came in by, which is the first scope. Undefined when a relay asks for a
 * subnet that we do not serve.
 */
export function chooseScope(request: DhcpMessage, scopes: readonly [Scope, ...Scope[]]): Scope | undefined {
  const place = addressOption(request, OptionCode.SubnetSelection) ?? request.giaddr;
  if (place !== anyAddress) {
    return scopes.find(({ subnet }) => contains(subnet, place));
  }
  return scopes.find(({ subnet }) => contains(subnet, request.ciaddr)) ?? scopes[0];
}

/** The relay passed the request on from another link: nothing there can be asked directly. */
export function isRelayed(request: DhcpMessage): boolean {
  return request.giaddr !== anyAddress;
}
