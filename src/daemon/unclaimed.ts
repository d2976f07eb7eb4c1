import type { Clock } from '../domain/clock.ts';
import type { Mac } from '../domain/mac.ts';
import type { UnclaimedBoard } from '../domain/node.ts';
import type { Serial } from '../domain/serial.ts';
import type { Client } from '../policy/classify-client.ts';

const maxBoards = 1000;

/** Boards that ask to boot and that nobody registered. In memory: a board that still waits asks again in seconds. */
export class UnclaimedBoards {
  // BOUNDED: at most maxBoards; the one heard longest ago is dropped.
  readonly #boards = new Map<Mac, UnclaimedBoard>();
  readonly #clock: Clock;
  #isUnwanted: (board: UnclaimedBoard) => boolean = () => false;
  #onKnock: (board: UnclaimedBoard) => void = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Boards that are not even listed, and who wants to know about all others. */
  watch(isUnwanted: (board: UnclaimedBoard) => boolean, onKnock: (board: UnclaimedBoard) => void): void {
    this.#isUnwanted = isUnwanted;
    this.#onKnock = onKnock;
  }

  /** True when this board is new. */
  knock(client: Pick<Client, 'mac' | 'class' | 'serial' | 'model' | 'memoryMiB'>, interfaceName: string): boolean {
    const before = this.#boards.get(client.mac);
    const now = this.#clock.now();
    const serial = client.serial ?? before?.serial;
    const model = client.model ?? before?.model;
    const memoryMiB = client.memoryMiB ?? before?.memoryMiB;
    const board = {
      mac: client.mac,
      client: client.class,
      interfaceName,
      firstSeen: before?.firstSeen ?? now,
      lastSeen: now,
      count: (before?.count ?? 0) + 1,
      ...(serial === undefined ? {} : { serial }),
      ...(model === undefined ? {} : { model }),
      ...(memoryMiB === undefined ? {} : { memoryMiB }),
    };
    if (this.#isUnwanted(board)) {
      return false;
    }
    this.#boards.delete(client.mac);
    this.#boards.set(client.mac, board);
    const oldest = this.#boards.keys().next();
    if (this.#boards.size > maxBoards && !oldest.done) {
      this.#boards.delete(oldest.value);
    }
    this.#onKnock(board);
    return before === undefined;
  }

  /** Whatever it asked from. */
  forgetBoard({ serial, macs }: { readonly serial?: Serial; readonly macs: readonly Mac[] }): void {
    for (const board of this.list()) {
      if (macs.includes(board.mac) || (serial !== undefined && board.serial === serial)) {
        this.forget(board.mac);
      }
    }
  }

  forget(mac: Mac): void {
    this.#boards.delete(mac);
  }

  list(): UnclaimedBoard[] {
    return [...this.#boards.values()];
  }
}
