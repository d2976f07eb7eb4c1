/** Raspberry Pi board revision codes, new style (Raspberry Pi documentation, "Revision codes"). */
import { piModels } from './client-tables.ts';

export interface PiRevision {
  /** Undefined for a board that is newer than our table. */
  readonly model?: string;
  readonly chip?: string;
  /** Undefined for old-style codes, which say nothing of it. */
  readonly memoryMiB?: number;
}

const newStyle = 1 << 23;
const chips: ReadonlyMap<number, string> = new Map([
  [0, 'BCM2835'],
  [1, 'BCM2836'],
  [2, 'BCM2837'],
  [3, 'BCM2711'],
  [4, 'BCM2712'],
]);

/** Bits 4-11 board type, 12-15 chip, 20-22 memory (256 MiB doubled as often). */
export function readPiRevision(code: number): PiRevision {
  const model = piModels.get((code >>> 4) & 0xff);
  const chip = chips.get((code >>> 12) & 0xf);
  return {
    ...(model === undefined ? {} : { model }),
    ...(chip === undefined ? {} : { chip }),
    ...((code & newStyle) === 0 ? {} : { memoryMiB: 256 << ((code >>> 20) & 7) }),
  };
}
