/** Plays one board of a model from power-on to its kernel. */
import { messageOf, UserError } from '../domain/errors.ts';
import { Board, type BoardOptions, type Booted } from './board.ts';
import type { Model } from './models.ts';
import { bootPc } from './pc-firmware.ts';
import { bootEeprom } from './pi-eeprom.ts';
import { bootPi3 } from './pi3-rom.ts';
import { bootUBoot } from './u-boot.ts';

export interface BoardResult {
  readonly serial: string;
  readonly mac: string;
  /** The kernel and all that it needs are there. */
  readonly booted: boolean;
  readonly seconds: number;
  /** Payload of all files. */
  readonly bytes: number;
  readonly restarts: number;
  /** What real firmware would have choked on. */
  readonly violations: readonly string[];
  /** Why it did not get further. */
  readonly failure?: string;
  readonly boot?: Booted;
}

export async function playBoard(model: Model, options: BoardOptions): Promise<BoardResult> {
  const board = new Board(options);
  const startedAt = board.clock.now();
  const result = (rest: { booted: boolean; failure?: string; boot?: Booted }): BoardResult => ({
    serial: options.serial,
    mac: options.mac,
    seconds: (board.clock.now() - startedAt) / 1000,
    bytes: board.bytes,
    restarts: board.restarts,
    violations: board.violations,
    ...rest,
  });
  try {
    return result({ booted: true, boot: await bootModel(board, model) });
  } catch (error) {
    if (error instanceof UserError && error.code !== 'cancelled') {
      return result({ booted: false, failure: messageOf(error) });
    }
    throw error;
  }
}

async function bootModel(board: Board, model: Model): Promise<Booted> {
  switch (model.firmware) {
    case 'pi3':
      return await bootPi3(board, model);
    case 'eeprom':
      return await bootEeprom(board, model);
    case 'u-boot':
      return await bootUBoot(board, model);
    default:
      return await bootPc(board, model);
  }
}
