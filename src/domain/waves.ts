/** Nodes that are done together, one wave after another: a rack that wakes at once may be more than its fuse takes. */

export interface WaveNode {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

export interface WaveRule {
  /** At most so many at once. */
  readonly size?: number;
  /** Nodes with the same value of this label go together, in the order of the values; those without it come last. */
  readonly by?: string;
}

const byValue = new Intl.Collator('en', { numeric: true });

export function wavesOf(nodes: readonly WaveNode[], { size = Number.POSITIVE_INFINITY, by }: WaveRule): string[][] {
  const groups = new Map<string | undefined, string[]>();
  for (const { name, labels } of nodes) {
    const value = by === undefined ? undefined : labels[by];
    groups.set(value, [...(groups.get(value) ?? []), name]);
  }
  const sorted = [...groups].toSorted(([a], [b]) => (a === undefined ? 1 : b === undefined ? -1 : byValue.compare(a, b)));
  return sorted.flatMap(([, names]) => {
    const waves: string[][] = [];
    for (let at = 0; at < names.length; at += size) {
      waves.push(names.slice(at, at + size));
    }
    return waves;
  });
}
