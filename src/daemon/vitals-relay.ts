/** What nodes of an interface tell goes out there again by multicast, for programs that listen and ask nobody. */
import type { Ipv4 } from '../domain/ipv4.ts';
import type { MulticastGroup } from '../domain/multicast-group.ts';
import type { Vitals } from '../domain/vitals.ts';
import type { Logger } from '../log/logger.ts';
import { openUdpEndpoint } from '../net/udp-endpoint.ts';

export interface VitalsRelayOptions {
  readonly group: MulticastGroup;
  readonly interfaceName: string;
  readonly address: Ipv4;
  readonly log: Logger;
}

export interface VitalsRelay extends AsyncDisposable {
  readonly send: (vitals: Vitals) => void;
}

/** The kernel sends multicast with a TTL of 1: it stays in the subnet. */
export function startVitalsRelay({ group, interfaceName, address, log }: VitalsRelayOptions): VitalsRelay {
  let isToldOf = false;
  const endpoint = openUdpEndpoint({
    interfaceName,
    address,
    port: 0,
    onMessage: () => {},
    onError: (error) => {
      log[isToldOf ? 'debug' : 'warn']({ interface: interfaceName, reason: error.message }, 'vitals could not be sent on by multicast');
      isToldOf = true;
    },
  });
  return {
    send: (vitals) => endpoint.send(Buffer.from(JSON.stringify(vitals)), group),
    [Symbol.asyncDispose]: () => endpoint[Symbol.asyncDispose](),
  };
}
