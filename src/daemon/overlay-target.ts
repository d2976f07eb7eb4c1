/** What all verbs on overlays ask first: which disk is meant, who uses it, is there room for a copy of it. */
import type { Clock } from '../domain/clock.ts';
import { UserError } from '../domain/errors.ts';
import { type ImageDigest, shortDigest } from '../domain/image.ts';
import type { NodeName } from '../domain/node.ts';
import type { ImageCatalog } from '../images/catalog.ts';
import type { DataVolumes } from '../overlays/data-volumes.ts';
import type { MergedViews } from '../overlays/merged-view.ts';
import type { OverlayDisks } from '../overlays/overlay-disks.ts';
import type { StoreSpace } from '../overlays/store-space.ts';
import type { Turns } from '../overlays/turns.ts';
import { isUnderWay } from '../policy/boot-progress.ts';
import { holdersOf } from '../process/disk-holders.ts';
import type { NodeStore } from '../store/nodes.ts';
import type { BootSessions } from './boot-sessions.ts';
import type { DiskCopies } from './disk-copies.ts';
import type { Exports } from './exports.ts';
import type { Jobs } from './jobs.ts';
import type { NodeDisksMaker } from './node-disks.ts';

export interface OverlayServiceOptions {
  readonly nodes: NodeStore;
  readonly sessions: BootSessions;
  readonly images: ImageCatalog;
  readonly overlays: OverlayDisks;
  readonly data: DataVolumes;
  readonly views: MergedViews;
  readonly disks: NodeDisksMaker;
  readonly exports: Exports;
  readonly space: StoreSpace;
  readonly turns: Turns;
  readonly jobs: Jobs;
  /** Where views are mounted when nobody says where: `NODE` is put behind it. */
  readonly viewsDirectory: string;
  /** Of all overlays and snapshots of one node. Absent: four times what the node sees. */
  readonly quotaBytes: number | undefined;
  readonly copies: DiskCopies;
  readonly clock: Clock;
}

export type InUseFacts = Pick<OverlayServiceOptions, 'sessions' | 'clock' | 'exports' | 'overlays'>;

const quotaFactor = 4;

/** The version that is meant: as named, else what the node last booted, else what it last wrote to. @throws UserError not-found */
export async function versionOf(name: NodeName, version: string | undefined, options: OverlayServiceOptions): Promise<ImageDigest> {
  const there = (await options.overlays.list(name)).map((overlay) => overlay.digest);
  const booted = options.sessions.of(name)?.digest;
  const matches = version === undefined ? there : there.filter((digest) => digest.startsWith(version));
  const [digest, another] = version === undefined && booted !== undefined && there.includes(booted) ? [booted] : matches;
  if (digest === undefined) {
    throw new UserError('not-found', version === undefined ? `${name} has no overlay` : `${name} has no overlay of version ${version}`, {
      hint: there.length === 0 ? 'A persistent overlay is made at the first boot' : `It has: ${there.map(shortDigest).join(', ')}`,
    });
  }
  if (version !== undefined && another !== undefined) {
    throw new UserError('bad-input', `${name} has several overlays of a version that begins with ${version}`, {
      hint: matches.map(shortDigest).join(', '),
    });
  }
  return digest;
}

/** It has its plan and will be on its disk of this version in a moment, or it ran on it when this server started. */
export async function isAwaited(name: NodeName, digest: ImageDigest, options: InUseFacts): Promise<boolean> {
  const { sessions, clock, exports, overlays } = options;
  const session = sessions.of(name);
  const isBooting = session?.address !== undefined && session.digest === digest && isUnderWay(session, clock.now());
  return isBooting || (await exports.isAwaited([overlays.pathOf(name, digest)]));
}

export async function isInUse(name: NodeName, digest: ImageDigest, options: InUseFacts): Promise<boolean> {
  return (await isAwaited(name, digest, options)) || (await holdersOf([options.overlays.pathOf(name, digest)])).length > 0;
}

/** `reimage` is a wish for the version that boots next: what takes that version's place afterwards ends it. */
export async function endReimage(name: NodeName, digest: ImageDigest, { nodes, images }: OverlayServiceOptions): Promise<void> {
  const node = nodes.get(name);
  const image = await images.find(digest);
  if (!node?.reimage || !image) {
    return;
  }
  const next = await images.resolve(node.image, image.arch);
  if (next.kind === 'found' && next.image.digest === digest) {
    nodes.update(name, { reimage: false });
  }
}

export async function usedBy(name: NodeName, digest: ImageDigest, { overlays }: Pick<OverlayServiceOptions, 'overlays'>): Promise<number> {
  return (await overlays.list(name)).find((overlay) => overlay.digest === digest)?.usedBytes ?? 0;
}

/** Room for a copy of a disk of this version, in the store and in the node's quota. @throws UserError no-space */
export async function requireRoom(
  name: NodeName,
  digest: ImageDigest,
  options: OverlayServiceOptions,
  what: string,
  copied?: number,
): Promise<void> {
  const { overlays, space, nodes, disks, quotaBytes } = options;
  const bytes = copied ?? (await usedBy(name, digest, options));
  await space.require((await overlays.sharesBlocks()) ? 0 : bytes, what);
  const quota = quotaBytes ?? quotaFactor * disks.overlayBytesOf(nodes.require(name));
  const used = await overlays.used(name);
  if (used + bytes > quota) {
    throw new UserError(
      'no-space',
      `No space for ${what}: ${name} uses ${used} of the ${quota} bytes that its overlays may take, and this takes ${bytes}`,
      {
        hint: `Delete snapshots or versions: cardless overlay show ${name}. The setting overlayQuotaBytes changes the limit`,
      },
    );
  }
}
