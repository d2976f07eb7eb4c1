/** What is different between two images: pure work on their lists. */
import type { ContentEntry, EntryChange, ImageContents, ImageDiff, InstalledPackage } from '../domain/image-contents.ts';

/** Images with nothing in common have a hundred thousand files each; nobody reads them, and they have to be sent. */
const maxListed = 2000;

export function diffContents(from: ImageContents, to: ImageContents): ImageDiff {
  const files = byKey(from.entries, to.entries, (entry) => entry.path);
  const changed = files.both.flatMap(([before, after]) => {
    const what = changesOf(before, after);
    return what.length === 0 ? [] : [{ path: after.path, what }];
  });
  return {
    packages: diffPackages(from.packages, to.packages),
    files: {
      added: files.added.slice(0, maxListed),
      removed: files.removed.slice(0, maxListed),
      changed: changed.slice(0, maxListed),
    },
    notListed: {
      added: Math.max(0, files.added.length - maxListed),
      removed: Math.max(0, files.removed.length - maxListed),
      changed: Math.max(0, changed.length - maxListed),
    },
  };
}

function diffPackages(from: readonly InstalledPackage[], to: readonly InstalledPackage[]): ImageDiff['packages'] {
  // Kernels may be installed side by side in several versions, each under a name of its own.
  const { added, removed, both } = byKey(from, to, (entry) => entry.name);
  const changed = both
    .filter(([before, after]) => before.version !== after.version)
    .map(([before, after]) => ({ name: after.name, from: before.version, to: after.version }));
  return { added, removed, changed };
}

function changesOf(before: ContentEntry, after: ContentEntry): EntryChange[] {
  if (before.type !== after.type) {
    return ['type'];
  }
  const changes: [EntryChange, boolean][] = [
    ['content', before.sha256 !== after.sha256],
    ['target', before.target !== after.target],
    // Nothing looks at the mode of a link.
    ['mode', after.type !== 'link' && before.mode !== after.mode],
    ['owner', before.uid !== after.uid || before.gid !== after.gid],
  ];
  return changes.filter(([, isChanged]) => isChanged).map(([what]) => what);
}

function byKey<T>(
  from: readonly T[],
  to: readonly T[],
  keyOf: (item: T) => string,
): { readonly added: T[]; readonly removed: T[]; readonly both: [T, T][] } {
  const before = new Map(from.map((item) => [keyOf(item), item]));
  const added: T[] = [];
  const both: [T, T][] = [];
  for (const item of to) {
    const earlier = before.get(keyOf(item));
    if (earlier === undefined) {
      added.push(item);
    } else {
      both.push([earlier, item]);
      before.delete(keyOf(item));
    }
  }
  return { added, removed: [...before.values()], both };
}
