/** Many boards that are switched on at once, on one interface, in one process. */
import type { Clock } from '../domain/clock.ts';
import { UserError } from '../domain/errors.ts';
import type { SimEvent } from './board.ts';
import { type BoardResult, playBoard } from './boot.ts';
import { EtherNetwork } from './ether-network.ts';
import type { Faults } from './faults.ts';
import type { Identity } from './identities.ts';
import type { Model } from './models.ts';
import { derivedSeed, seededRandom } from './random.ts';
import { StoppableClock } from './stoppable-clock.ts';

export interface StormOptions {
  readonly interfaceName: string;
  readonly model: Model;
  readonly boards: readonly Identity[];
  readonly faults: Faults;
  /** Keep what each board's kernel would be started with. */
  readonly keep: boolean;
  readonly fileTimeoutMs?: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onEvent: (board: Identity, event: SimEvent) => void;
  readonly onBytes: (count: number) => void;
  readonly onBoard: (result: BoardResult) => void;
}

export interface StormResult {
  readonly boards: readonly BoardResult[];
  /** From the first DISCOVER until the last board was done. */
  readonly makespanSeconds: number;
}

export async function playStorm(options: StormOptions): Promise<StormResult> {
  const { model, faults, signal } = options;
  using clock = new StoppableClock(options.clock);
  const failed = Promise.withResolvers<never>();
  const onAbort = (): void => failed.reject(new UserError('cancelled', 'The simulated boards were switched off'));
  signal.addEventListener('abort', onAbort, { once: true });
  using network = new EtherNetwork({ interfaceName: options.interfaceName, clock, faults, onFailure: failed.reject });
  let firstAt: number | undefined;
  const play = async (identity: Identity, index: number): Promise<BoardResult> => {
    const result = await playBoard(model, {
      ...identity,
      network: network.addBoard(identity.mac),
      random: seededRandom(derivedSeed(faults.seed, -1 - index)),
      keep: options.keep,
      signal,
      onBytes: options.onBytes,
      onEvent: (event) => {
        firstAt ??= clock.now();
        options.onEvent(identity, event);
      },
      ...(options.fileTimeoutMs === undefined ? {} : { fileTimeoutMs: options.fileTimeoutMs }),
    });
    options.onBoard(result);
    return result;
  };
  try {
    const boards = await Promise.race([Promise.all(options.boards.map(play)), failed.promise]);
    return { boards, makespanSeconds: (clock.now() - (firstAt ?? clock.now())) / 1000 };
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
