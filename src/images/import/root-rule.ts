/** The words that rules about an imported root are written in. */
import type { TreeView } from '../tree-access.ts';

/** Paths are relative to the root, without a leading slash. `what` is for the report. */
export type Change =
  | { readonly kind: 'remove'; readonly path: string; readonly what: string }
  | { readonly kind: 'write'; readonly path: string; readonly content: string; readonly mode: number; readonly what: string }
  | { readonly kind: 'link'; readonly path: string; readonly target: string; readonly what: string }
  /** Nothing in the image: the initramfs does it on each board. */
  | { readonly kind: 'at-boot'; readonly path: string; readonly what: string };

export interface RootRule {
  readonly id: string;
  /** Why a network root must not have it. */
  readonly reason: string;
  readonly plan: (tree: TreeView) => Promise<readonly Change[]>;
}

type Plan = RootRule['plan'];

/** Several things that one reason is for. */
export function all(...plans: readonly Plan[]): Plan {
  return async (tree) => (await Promise.all(plans.map((plan) => plan(tree)))).flat();
}

/** Paths; the last part may have `*` in it. */
export function removes(...patterns: readonly string[]): Plan {
  return async (tree) => {
    const paths = await Promise.all(patterns.map((pattern) => matching(tree, pattern)));
    return paths.flat().map((path) => ({ kind: 'remove', path, what: 'removed' }));
  };
}

export async function matching(tree: TreeView, pattern: string): Promise<string[]> {
  const slash = pattern.lastIndexOf('/');
  const [directory, last] = [pattern.slice(0, Math.max(0, slash)), pattern.slice(slash + 1)];
  if (!last.includes('*')) {
    return (await tree.has(pattern)) ? [pattern] : [];
  }
  const expression = new RegExp(`^${last.replaceAll('.', '\\.').replaceAll('*', '.*')}$`);
  return (await tree.list(directory)).filter((name) => expression.test(name)).map((name) => `${directory}/${name}`);
}

const unitFolders = ['etc/systemd/system', 'usr/lib/systemd/system', 'lib/systemd/system'];
const own = 'etc/systemd/system';

/** systemd units that the system has are masked; they stay installed. */
export function masks(...units: readonly string[]): Plan {
  return async (tree) => {
    const there = await Promise.all(
      units.map(async (unit) => {
        const found = await Promise.all(unitFolders.map((folder) => tree.has(`${folder}/${unit}`)));
        return found.includes(true) ? [unit] : [];
      }),
    );
    return there.flat().map((unit) => ({ kind: 'link', path: `${own}/${unit}`, target: '/dev/null', what: 'masked' }));
  };
}

/** A file of ours, where one of the paths says that its program is there. */
export function writes(
  file: { readonly path: string; readonly content: string; readonly what: string },
  ...where: readonly string[]
): Plan {
  return async (tree) => {
    const found = await Promise.all(where.map((path) => tree.has(path)));
    return found.includes(true) ? [{ kind: 'write', mode: 0o644, ...file }] : [];
  };
}

/** What is there is told, and left to the boot. */
export function atBoot(what: string, ...paths: readonly string[]): Plan {
  return async (tree) => {
    const found = await Promise.all(paths.map(async (path) => ((await tree.has(path)) ? [path] : [])));
    return found.flat().map((path) => ({ kind: 'at-boot', path, what }));
  };
}

/** Another text in place of a file's own; undefined leaves it alone. */
export function rewrites(path: string, change: (text: string) => { readonly text: string; readonly what: string } | undefined): Plan {
  return async (tree) => {
    const before = await tree.read(path);
    const after = before === undefined ? undefined : change(before);
    return after === undefined ? [] : [{ kind: 'write', path, content: after.text, mode: 0o644, what: after.what }];
  };
}
