/** How much is measured, and about how long it takes. */
import { type LinkName, linkNames, type RootCell } from './root-figures.ts';

export const rootParts = ['boot', 'nbd'] as const;
export type RootPart = (typeof rootParts)[number];

export interface PlannedCell extends RootCell {
  /** Times that each contender boots it, in turn. */
  readonly rounds: number;
}

export interface RootPlan {
  readonly cells: readonly PlannedCell[];
  /** Links on which the whole root is read. */
  readonly links: readonly LinkName[];
  readonly clients: number;
}

export type RootSize = 'full' | 'quick' | 'tiny';

const guestCounts: Readonly<Record<RootSize, readonly number[]>> = { full: [1, 4, 8], quick: [1], tiny: [1] };
const linksOf: Readonly<Record<RootSize, readonly LinkName[]>> = { full: linkNames, quick: linkNames, tiny: ['1gbit'] };

/** Of one contender's run, on a machine with two cores that emulates its guests. Only the time left depends on it. */
const secondsOfOneGuest = 75;
const secondsOfEachFurther = 30;
export const nbdSecondsOn: Readonly<Record<LinkName, number>> = { '1gbit': 25, '100mbit': 60 };

export function rootPlanOf(size: RootSize, rounds = 1, guestsWanted?: readonly number[]): RootPlan {
  const links = linksOf[size];
  const cells = (guestsWanted ?? guestCounts[size]).flatMap((guests) => links.map((link) => ({ link, guests, rounds })));
  return { cells, links, clients: 200 };
}

export function runSeconds({ guests }: RootCell): number {
  return secondsOfOneGuest + (guests - 1) * secondsOfEachFurther;
}

export function rootPlanSeconds(plan: RootPlan, wanted: (part: RootPart) => boolean, contenders: number): number {
  const boots = plan.cells.reduce((sum, cell) => sum + cell.rounds * contenders * runSeconds(cell), 0);
  const nbd = plan.links.reduce((sum, link) => sum + nbdSecondsOn[link], 0);
  return (wanted('boot') ? boots : 0) + (wanted('nbd') ? nbd : 0);
}
