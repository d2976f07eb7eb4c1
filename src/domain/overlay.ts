import { UserError } from './errors.ts';
import type { ImageDigest } from './image.ts';

declare const brand: unique symbol;
/** The name of a snapshot, which is part of a file name. */
export type SnapshotLabel = string & { readonly [brand]: 'SnapshotLabel' };
/** A path in a node's root, without the leading slash and without `..`. */
export type RootPath = string & { readonly [brand]: 'RootPath' };

/** What the next boot copies out of an overlay of another version before it uses its own. */
export interface Carry {
  readonly from: ImageDigest;
  readonly paths: readonly RootPath[];
}

export interface OverlaySnapshot {
  readonly label: SnapshotLabel;
  readonly usedBytes: number;
  /** Milliseconds since the epoch, as all times. */
  readonly createdAt: number;
}

/** A node's writable disk for one image version, with what was kept of it. */
export interface Overlay {
  readonly digest: ImageDigest;
  /** Blocks that its file takes. */
  readonly usedBytes: number;
  /** What the node sees. */
  readonly virtualBytes: number;
  readonly createdAt: number;
  readonly changedAt: number;
  readonly snapshots: readonly OverlaySnapshot[];
  /** What takes its place at the next boot. */
  readonly staged?: SnapshotLabel;
}

/** What a copy of a disk is worth that a node may be writing to. */
export type CopiedState =
  /** Nobody had it open. */
  | { readonly kind: 'unused' }
  /** The node wrote out what it had and held still meanwhile. */
  | { readonly kind: 'frozen'; readonly frozenMs: number }
  /** As after a power cut at that moment: whole, but without what the node had not written yet. */
  | { readonly kind: 'crash-consistent'; readonly reason: string };

/** @throws UserError bad-input */
export function parseSnapshotLabel(input: string): SnapshotLabel {
  if (!/^[a-z0-9][a-z0-9._-]{0,62}$/.test(input) || input.endsWith('.img') || input.endsWith('.partial')) {
    throw new UserError('bad-input', `"${input}" is not a label of a snapshot`, {
      hint: 'Up to 63 lower-case letters, digits, dots and dashes, for example before-upgrade',
    });
  }
  return input as SnapshotLabel;
}

/** For snapshots that nobody named: `20261121-093015`, in UTC. */
export function labelOfTime(ms: number): SnapshotLabel {
  return parseSnapshotLabel(new Date(ms).toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-'));
}

/** @throws UserError bad-input */
export function parseRootPath(input: string): RootPath {
  const parts = input.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.length === 0 || parts.includes('..') || /[\0\n]/.test(input)) {
    throw new UserError('bad-input', `"${input}" is not a path that can be carried over`, {
      hint: 'A file or folder of the node, for example /home or /etc/myapp.conf',
    });
  }
  return parts.join('/') as RootPath;
}

const units: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
const smallestDisk = 64 * 2 ** 20;
/** What ext4 with blocks of 4 kB can hold with room to spare. */
const largestDisk = 8 * 2 ** 40;

/** `8G`, `512M`, or bytes. @throws UserError bad-input */
export function parseDiskSize(input: string): number {
  const [, digits = '', unit = ''] = /^(\d{1,15})([KMGT]?)(?:i?B)?$/i.exec(input) ?? [];
  const bytes = Number(digits) * (units[unit.toUpperCase()] ?? 0);
  if (digits === '' || bytes < smallestDisk || bytes > largestDisk) {
    throw new UserError('bad-input', `"${input}" is not a size of a disk`, { hint: 'From 64M to 8T, for example 8G' });
  }
  return Math.ceil(bytes / 4096) * 4096;
}
