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
  readonly domain?: string;
  readonly timeServer?: Ipv4;
}

/** What we do for the subnet ourselves, and therefore say where nobody said otherwise. */
export interface OwnServices {
  readonly address: Ipv4;
  readonly nameServer: boolean;
  readonly gateway: boolean;
  readonly timeServer: boolean;
  readonly domain: string;
}

/** @param isLink the subnet of the link itself; behind a relay the relay is the router */
export function withOwnServices(scope: Scope, own: OwnServices, isLink: boolean): Scope {
  const { address, nameServer, gateway, timeServer, domain } = own;
  return {
    ...scope,
    ...(gateway && isLink && scope.router === undefined ? { router: address } : {}),
    ...(nameServer ? { domain, dns: scope.dns.length > 0 ? scope.dns : [address] } : {}),
    ...(timeServer ? { timeServer: address } : {}),
  };
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
