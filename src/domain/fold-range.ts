/** The inverse of expandRange: many names as few ranges. */

/** As many as one bracket of expandRange may stand for. */
const maxInBracket = 4096;
/** Longer numbers are not exact. */
const maxDigits = 15;

interface Family {
  readonly head: string;
  readonly tail: string;
  /** By width; 0 is for numbers without leading zeros. */
  readonly numbers: Map<number, Set<number>>;
}

/**
 * `red1 red2 red3 blue` becomes `blue,red[1-3]`: each name once, in order, ranges over the last number of a name alone,
 * which is what clush, Slurm and expandRange all read.
 */
export function foldRange(names: readonly string[]): string {
  const families = new Map<string, Family>();
  const plain = new Set<string>();
  for (const name of names) {
    const [, head, digits, tail] = /^(.*?)(\d+)(\D*)$/.exec(name) ?? [];
    if (head === undefined || digits === undefined || tail === undefined || digits.length > maxDigits) {
      plain.add(name);
      continue;
    }
    const key = JSON.stringify([head, tail]);
    const family = families.get(key) ?? { head, tail, numbers: new Map<number, Set<number>>() };
    families.set(key, family);
    const width = digits.length > 1 && digits.startsWith('0') ? digits.length : 0;
    family.numbers.set(width, (family.numbers.get(width) ?? new Set()).add(Number(digits)));
  }
  return [...plain, ...[...families.values()].flatMap(foldFamily)].toSorted(byName.compare).join(',');
}

const byName = new Intl.Collator('en', { numeric: true });

function foldFamily({ head, tail, numbers }: Family): string[] {
  const parts = [...joinWidths(numbers)].toSorted(([a], [b]) => a - b).flatMap(([width, values]) => itemsOf(width, values));
  const brackets: string[] = [];
  let items: string[] = [];
  let room = maxInBracket;
  for (const { text, count } of parts) {
    if (count > room) {
      brackets.push(bracket(items));
      [items, room] = [[], maxInBracket];
    }
    items.push(text);
    room -= count;
  }
  return [...brackets, bracket(items)].map((inner) => `${head}${inner}${tail}`);
}

/** 100 has no leading zero, but goes with 098 and 099. */
function joinWidths(numbers: ReadonlyMap<number, ReadonlySet<number>>): Map<number, number[]> {
  const joined = new Map([...numbers].map(([width, values]) => [width, [...values]]));
  const free = joined.get(0) ?? [];
  joined.set(
    0,
    free.filter((value) => {
      const padded = joined.get(String(value).length);
      padded?.push(value);
      return padded === undefined;
    }),
  );
  return joined;
}

function itemsOf(width: number, values: readonly number[]): { text: string; count: number }[] {
  const items: { text: string; count: number }[] = [];
  const sorted = values.toSorted((a, b) => a - b);
  const digits = (value: number): string => String(value).padStart(width, '0');
  let from = 0;
  for (const [index, value] of sorted.entries()) {
    const isLast = sorted[index + 1] !== value + 1 || index - from + 1 >= maxInBracket;
    if (isLast) {
      const first = sorted[from] ?? value;
      items.push({ text: first === value ? digits(value) : `${digits(first)}-${digits(value)}`, count: index - from + 1 });
      from = index + 1;
    }
  }
  return items;
}

function bracket(items: readonly string[]): string {
  const text = items.join(',');
  return /[-,]/.test(text) ? `[${text}]` : text;
}
