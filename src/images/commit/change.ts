/** What differs between a node's root and the image that it booted. */

export const entryTypes = ['file', 'directory', 'symlink', 'device', 'fifo', 'socket'] as const;
export type EntryType = (typeof entryTypes)[number];

export const aspects = ['type', 'content', 'target', 'device', 'mode', 'owner', 'xattrs', 'capabilities'] as const;
export type Aspect = (typeof aspects)[number];

export interface Change {
  /** From the root of the node's file system, with a leading slash. */
  readonly path: string;
  readonly change: 'added' | 'changed' | 'removed';
  readonly type: EntryType;
  /** What it was, where it is something else now. */
  readonly before?: EntryType;
  /** In what it is changed. */
  readonly what: readonly Aspect[];
  /** Of a file that is there. */
  readonly bytes?: number;
  /** Another name of the same file that comes before this one. */
  readonly linkTo?: string;
  /** How many files and folders went with a folder. */
  readonly below?: number;
}

export interface LeftOut extends Change {
  readonly reason: string;
}

export interface Counts {
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
}

export function countChanges(changes: readonly Change[]): Counts {
  const count = (kind: Change['change']): number => changes.filter(({ change }) => change === kind).length;
  return { added: count('added'), changed: count('changed'), removed: count('removed') };
}
