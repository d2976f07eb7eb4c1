/**
 * Many boards on one interface: a small network stack that builds whole frames, each with its board's MAC and address,
 * and answers ARP for all of them. The kernel's own addresses stay as they are. Frames pass through simulated faults in
 * both directions; the rate of the link is kept by taking no more frames from the socket than it carries, so what waits
 * stands in the kernel's queue as it would in a switch's.
 */
import { setImmediate as breathe } from 'node:timers/promises';
import type { Clock } from '../domain/clock.ts';
import { type Mac, macBytes } from '../domain/mac.ts';
import { openPacketSocket, type PacketSocket } from '../net/packet-socket.ts';
import { EtherBoard } from './ether-board.ts';
import { DelayLine, type Faults, fates, isFaultless, TokenBucket } from './faults.ts';
import { broadcastMac } from './frames.ts';
import { derivedSeed } from './random.ts';

/** Signals, timers and files of this process wait this long at most while nothing arrives. */
const maxWaitMs = 2;
const batchFrames = 64;
/** Preamble, check sequence and gap (IEEE 802.3). */
const wireOverheadBytes = 24;

export interface EtherNetworkOptions {
  readonly interfaceName: string;
  readonly clock: Clock;
  readonly faults: Faults;
  readonly onFailure: (error: unknown) => void;
}

export class EtherNetwork implements Disposable {
  readonly #options: EtherNetworkOptions;
  readonly #socket: PacketSocket;
  readonly #boards = new Map<number, EtherBoard>();
  readonly #delayed = new DelayLine();
  readonly #bucket: TokenBucket | undefined;
  readonly #isFaultless: boolean;
  #isOpen = true;

  constructor(options: EtherNetworkOptions) {
    this.#options = options;
    this.#socket = openPacketSocket(options.interfaceName);
    this.#isFaultless = isFaultless(options.faults);
    const { bitsPerSecond } = options.faults;
    this.#bucket = bitsPerSecond === undefined ? undefined : new TokenBucket(bitsPerSecond, performance.now());
    this.#run().catch(options.onFailure);
  }

  addBoard(mac: Mac): EtherBoard {
    const index = this.#boards.size;
    const number = macBytes(mac).readUIntBE(0, 6);
    const { faults, clock } = this.#options;
    const transmit = this.#transmitter(fates(faults, derivedSeed(faults.seed, 2 * index)));
    const board = new EtherBoard({
      mac: number,
      clock,
      transmit,
      arrive: this.#arrival(fates(faults, derivedSeed(faults.seed, 2 * index + 1))),
    });
    this.#boards.set(number, board);
    return board;
  }

  [Symbol.dispose](): void {
    if (this.#isOpen) {
      this.#isOpen = false;
      this.#socket.close();
    }
  }

  async #run(): Promise<void> {
    while (this.#isOpen) {
      const now = performance.now();
      const taken = this.#receive(now);
      const delivered = this.#delayed.deliverDue(performance.now());
      this.#socket.flush();
      // What the frames set going continues in promises and timers, and sends more.
      await breathe();
      if (!this.#isOpen) {
        return;
      }
      this.#socket.flush();
      if (taken + delivered === 0) {
        this.#idle();
      }
    }
  }

  #receive(now: number): number {
    const bucket = this.#bucket;
    let taken = 0;
    // With a rate to keep, few at a time: the bucket is asked again before more are let through.
    const step = bucket ? 8 : batchFrames;
    for (; taken < batchFrames && (!bucket || bucket.mayPass(now)); ) {
      const count = this.#socket.receive(step, (frame) => {
        bucket?.pay(Math.max(frame.length, 60) + wireOverheadBytes);
        this.#dispatch(frame);
      });
      taken += count;
      if (count < step) {
        break;
      }
    }
    return taken;
  }

  #idle(): void {
    const now = performance.now();
    const untilDue = this.#delayed.next === undefined ? maxWaitMs : Math.max(0, this.#delayed.next - now);
    const untilPaid = this.#bucket?.waitMs ?? 0;
    if (untilPaid > 0) {
      // Something may well wait already, so readiness says nothing.
      this.#socket.sleep(Math.min(untilPaid, untilDue, maxWaitMs));
      return;
    }
    this.#socket.wait(Math.min(maxWaitMs, untilDue));
  }

  #dispatch(frame: Buffer): void {
    if (frame.length < 14) {
      return;
    }
    const destination = frame.readUIntBE(0, 6);
    if (destination === broadcastMac) {
      for (const board of this.#boards.values()) {
        board.arrive(frame);
      }
      return;
    }
    this.#boards.get(destination)?.arrive(frame);
  }

  /** Frames of one board on their way out. */
  #transmitter(next: ReturnType<typeof fates>): (write: (frame: Buffer) => number) => number {
    const now = (write: (frame: Buffer) => number): number => {
      this.#socket.commit(write(this.#socket.room()));
      return 1;
    };
    if (this.#isFaultless) {
      return now;
    }
    return (write) => {
      const { delaysMs } = next();
      for (const delayMs of delaysMs) {
        const bytes = Buffer.alloc(2048);
        const length = write(bytes);
        this.#delayed.add(performance.now() + delayMs, () => now((frame) => bytes.copy(frame, 0, 0, length)));
      }
      return delaysMs.length;
    };
  }

  /** Frames that reach one board. */
  #arrival(next: ReturnType<typeof fates>): (frame: Buffer, deliver: (frame: Buffer, isCopy: boolean) => void) => void {
    if (this.#isFaultless) {
      return (frame, deliver) => deliver(frame, false);
    }
    return (frame, deliver) => {
      const { delaysMs } = next();
      const bytes = Buffer.from(frame);
      for (const [index, delayMs] of delaysMs.entries()) {
        this.#delayed.add(performance.now() + delayMs, () => deliver(bytes, index > 0));
      }
    };
  }
}
