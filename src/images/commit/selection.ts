/** Which of a node's changes become part of the image. */
import { UserError } from '../../domain/errors.ts';
import type { Change, LeftOut } from './change.ts';
import { aptLists, covers, type Rule, reachesInto, ruleFor, rules } from './rules.ts';

export interface Choice {
  /** Only what is at or below these; all when it is empty. */
  readonly paths: readonly string[];
  /** Patterns as in `Rule.path`. */
  readonly exclude: readonly string[];
  readonly keepAptLists: boolean;
  /** Files that the node has from its settings, secrets among them. */
  readonly given?: readonly string[];
}

const notChosen = 'not below --paths';

export interface Selection {
  readonly taken: readonly Change[];
  readonly leftOut: readonly LeftOut[];
}

/** @throws UserError bad-input when a folder went away of which only a part is wanted */
export function select(changes: readonly Change[], choice: Choice): Selection {
  const table = choice.keepAptLists ? rules : [...rules, aptLists];
  const reasons = new Map<string, string>();
  for (const change of changes) {
    const reason = reasonToLeaveOut(change, choice, table);
    if (reason !== undefined) {
      reasons.set(change.path, reason);
    }
  }
  leaveOutSeedFolders(changes, reasons, table);
  keepParents(changes, reasons);
  for (const change of changes) {
    refusePartOfRemoved(change, reasons.get(change.path), choice);
  }
  return {
    taken: changes.filter(({ path }) => !reasons.has(path)),
    leftOut: changes.flatMap((change) => {
      const reason = reasons.get(change.path);
      return reason === undefined ? [] : [{ ...change, reason }];
    }),
  };
}

function reasonToLeaveOut(change: Change, { paths, exclude, given = [] }: Choice, table: readonly Rule[]): string | undefined {
  const { path } = change;
  const rule = ruleFor(path, change.type === 'directory' && change.change !== 'removed', table);
  if (rule) {
    return rule.reason;
  }
  if (given.includes(path)) {
    return 'given to the node by its settings';
  }
  if (paths.length > 0 && !paths.some((wanted) => covers(wanted, path))) {
    return notChosen;
  }
  const pattern = exclude.find((candidate) => covers(candidate, path));
  return pattern === undefined ? undefined : `--exclude ${pattern}`;
}

/** Folders that are there only because the seed needed them, or a file that is left out with it. */
function leaveOutSeedFolders(changes: readonly Change[], reasons: Map<string, string>, table: readonly Rule[]): void {
  const seeds = table.filter((rule) => rule.kind === 'seed');
  for (const change of changes.toReversed()) {
    const isNewFolder = change.change === 'added' && change.type === 'directory' && !reasons.has(change.path);
    if (isNewFolder && seeds.some((rule) => reachesInto(rule.path, change.path))) {
      const below = changes.filter(({ path }) => path.startsWith(`${change.path}/`));
      if (below.length > 0 && below.every(({ path }) => reasons.has(path))) {
        reasons.set(change.path, 'only there for what the server writes into it');
      }
    }
  }
}

/** What is taken needs the folders that it is in, in the form that they have on the node. */
function keepParents(changes: readonly Change[], reasons: Map<string, string>): void {
  const byPath = new Map(changes.map((change) => [change.path, change]));
  for (const { path } of changes) {
    if (reasons.has(path)) {
      continue;
    }
    for (let parent = parentOf(path); parent !== '/'; parent = parentOf(parent)) {
      const change = byPath.get(parent);
      if (change && (change.change === 'added' || change.what.includes('type'))) {
        reasons.delete(parent);
      }
    }
  }
}

/** Of a folder that is gone as a whole, nothing can be left standing: its new form is all there is. */
function refusePartOfRemoved(change: Change, reason: string | undefined, { paths, exclude }: Choice): void {
  const isGone = change.change === 'removed' ? change.type === 'directory' : change.before === 'directory';
  if (!isGone) {
    return;
  }
  const inside = exclude.find((pattern) => reachesInto(pattern, change.path));
  if (reason === undefined && inside !== undefined) {
    throw new UserError('bad-input', `${change.path} was removed as a whole, so --exclude ${inside} cannot keep a part of it`, {
      hint: `Use --exclude ${change.path} to keep all of it, or leave out --exclude ${inside}`,
    });
  }
  const wanted = paths.find((path) => reachesInto(path, change.path));
  if (reason === notChosen && wanted !== undefined) {
    throw new UserError('bad-input', `${change.path} was removed as a whole, so --paths ${wanted} cannot take a part of that`, {
      hint: `Name ${change.path} in --paths`,
    });
  }
}

export function parentOf(path: string): string {
  const end = path.lastIndexOf('/');
  return end <= 0 ? '/' : path.slice(0, end);
}
