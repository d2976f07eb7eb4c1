/** The time server of an interface, and what is known about this machine's own clock. */
import { readKernelClock } from '../../net/kernel-clock.ts';
import { openUdpEndpoint, type UdpEndpoint } from '../../net/udp-endpoint.ts';
import { type ClockState, standingByChrony, standingByTimesyncd } from '../../policy/answer-time.ts';
import { timeServerChanges } from '../../policy/service-changes.ts';
import { run } from '../../process/run.ts';
import { Leap } from '../../protocol/ntp/packet.ts';
import { TimeServer } from '../../servers/time/time-server.ts';
import { orNamePortOwner } from '../open-port.ts';
import type { RunningService, ServedLink, ServicesOptions } from './services.ts';

const ntpPort = 123;
const lookEveryMs = 30_000;
const leaps = { none: Leap.None, insert: Leap.LastMinuteHas61, delete: Leap.LastMinuteHas59 } as const;

export class TimeService {
  readonly #options: ServicesOptions;
  #standing: Pick<ClockState, 'stratum' | 'referenceId'> = {};
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(options: ServicesOptions) {
    this.#options = options;
  }

  /** @throws UserError in-use, when this machine runs a time server of its own */
  async start(link: ServedLink, isLocal: boolean): Promise<RunningService> {
    const { clock, log } = this.#options;
    await using stack = new AsyncDisposableStack();
    let bad = 0;
    const server = new TimeServer({
      clock,
      facts: () => ({ served: link.subnets, isLocal, clock: this.#clockNow() }),
      onBadPacket: (reason) => {
        bad += 1;
        log.debug({ reason, interface: link.name }, 'bad ntp packet');
      },
    });
    const endpoint: UdpEndpoint = await orNamePortOwner('udp', ntpPort, link.address, async () =>
      openUdpEndpoint({
        interfaceName: link.name,
        address: link.address,
        port: ntpPort,
        onMessage: (data, peer) => server.receive(data, peer, endpoint.send),
        onError: (error) => log.debug({ reason: error.message, interface: link.name }, 'ntp socket'),
      }),
    );
    stack.use(endpoint);
    await this.#look();
    if (!isLocal && !readKernelClock().isSynchronised) {
      log.warn(
        { interface: link.name },
        'nobody has set the clock of this machine yet: nodes are told so. timeServer: local gives it to them all the same',
      );
    }
    const owned = stack.move();
    return {
      changes: () => timeServerChanges(link.address, isLocal),
      status: () => ({ ...server.status, ...this.#clockText(), badPackets: bad }),
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  }

  #clockNow(): ClockState {
    if (this.#options.clock.now() - this.#lookedAt > lookEveryMs) {
      void this.#look();
    }
    const { isSynchronised, maxErrorSeconds, leapSecond } = readKernelClock();
    return { isSynchronised, maxErrorSeconds, leap: leaps[leapSecond], ...this.#standing };
  }

  #clockText(): object {
    const { isSynchronised, stratum } = this.#clockNow();
    return { isSynchronised, ...(stratum === undefined ? {} : { stratum }) };
  }

  /** Whoever keeps the clock right knows how far from a real clock it is. */
  async #look(): Promise<void> {
    this.#lookedAt = this.#options.clock.now();
    const chrony = standingByChrony(await run('chronyc', ['-c', 'tracking']).catch(() => ''));
    this.#standing =
      chrony.stratum === undefined
        ? standingByTimesyncd(await run('timedatectl', ['show-timesync', '-p', 'NTPMessage']).catch(() => ''))
        : chrony;
  }
}
