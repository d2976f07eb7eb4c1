/** Other DHCP servers on a link. In mode proxy one is expected, the router; in mode full there should be none. */
import type { Clock } from '../domain/clock.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { Logger } from '../log/logger.ts';
import type { DhcpMode } from '../policy/decide-dhcp.ts';

const maxServers = 64;

export interface SeenServer {
  readonly address: Ipv4;
  readonly lastSeen: number;
  readonly isExpected: boolean;
}

export class Rivals {
  readonly #interfaceName: string;
  readonly #mode: DhcpMode;
  readonly #clock: Clock;
  readonly #log: Logger;
  // BOUNDED: at most maxServers; the one seen longest ago is dropped.
  readonly #seen = new Map<Ipv4, SeenServer>();

  constructor(options: { readonly interfaceName: string; readonly mode: DhcpMode; readonly clock: Clock; readonly log: Logger }) {
    this.#interfaceName = options.interfaceName;
    this.#mode = options.mode;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** A server that is none of ours gives leases here. It is told once. */
  saw(address: Ipv4): void {
    const isNew = !this.#seen.has(address);
    const isExpected = this.#mode === 'proxy';
    this.#seen.delete(address);
    this.#seen.set(address, { address, lastSeen: this.#clock.now(), isExpected });
    const oldest = this.#seen.keys().next();
    if (this.#seen.size > maxServers && !oldest.done) {
      this.#seen.delete(oldest.value);
    }
    if (isNew) {
      const fields = { interface: this.#interfaceName, server: address };
      if (isExpected) {
        this.#log.info(fields, 'dhcp server of this link');
      } else {
        this.#log.warn(fields, 'another DHCP server answers here; in mode full there must be one: stop it, or use mode proxy');
      }
    }
  }

  list(): SeenServer[] {
    return [...this.#seen.values()];
  }
}
