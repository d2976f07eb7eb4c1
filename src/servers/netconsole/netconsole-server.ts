/** Hears the logs that boot loaders send by UDP, and tells them line by line. Answers nothing. */
import type { Clock } from '../../domain/clock.ts';
import type { Ipv4 } from '../../domain/ipv4.ts';
import type { Mac } from '../../domain/mac.ts';
import { type ConsoleState, type ConsoleStep, feedConsole, flushConsole, startConsole } from '../../policy/console-lines.ts';

const maxSenders = 256;
/** A line that is still without end after this long gets none. */
const flushAfterMs = 1000;

/** The address alone tells nobody apart: NETCONSOLE gives every board the one that is written in its setting. */
export interface ConsoleSender {
  readonly mac: Mac;
  readonly address: Ipv4;
}

export interface NetconsoleServerOptions {
  readonly clock: Clock;
  readonly onLine: (sender: ConsoleSender, line: string) => void;
}

interface Sender {
  readonly sender: ConsoleSender;
  state: ConsoleState;
  cancelFlush: () => void;
}

export class NetconsoleServer {
  readonly #options: NetconsoleServerOptions;
  // BOUNDED: at most maxSenders; the one heard longest ago is dropped.
  readonly #senders = new Map<Mac, Sender>();

  constructor(options: NetconsoleServerOptions) {
    this.#options = options;
  }

  receive(data: Buffer, sender: ConsoleSender): void {
    const { clock } = this.#options;
    const known = this.#senders.get(sender.mac) ?? { sender, state: startConsole(clock.now()), cancelFlush: () => {} };
    this.#senders.delete(sender.mac);
    this.#senders.set(sender.mac, known);
    this.#makeRoom();
    known.cancelFlush();
    this.#tell(known, feedConsole(known.state, data, clock.now()));
    if (known.state.partial !== '') {
      known.cancelFlush = clock.after(flushAfterMs, () => this.#tell(known, flushConsole(known.state, clock.now())));
    }
  }

  close(): void {
    for (const { cancelFlush } of this.#senders.values()) {
      cancelFlush();
    }
    this.#senders.clear();
  }

  #tell(known: Sender, step: ConsoleStep): void {
    known.state = step.state;
    for (const line of step.lines) {
      this.#options.onLine(known.sender, line);
    }
  }

  #makeRoom(): void {
    const [oldest] = this.#senders;
    if (this.#senders.size > maxSenders && oldest) {
      oldest[1].cancelFlush();
      this.#senders.delete(oldest[0]);
    }
  }
}
