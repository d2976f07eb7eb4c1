/** Commits: which overlay of which node is meant, and whether it may become the next version of an image. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Places } from '../config/places.ts';
import type { Clock } from '../domain/clock.ts';
import { systemCode, UserError } from '../domain/errors.ts';
import { type Image, type ImageDigest, parseImageDigest, parseImageName, shortDigest } from '../domain/image.ts';
import { type Node, type NodeName, parseNodeName } from '../domain/node.ts';
import type { CopiedState } from '../domain/overlay.ts';
import type { ImageCatalog } from '../images/catalog.ts';
import { type CommitResult, commitImage } from '../images/commit/commit.ts';
import type { OnProgress } from '../images/progress.ts';
import { checkCopy } from '../overlays/check-disk.ts';
import type { OverlayDisks } from '../overlays/overlay-disks.ts';
import type { StoreSpace } from '../overlays/store-space.ts';
import type { Turns } from '../overlays/turns.ts';
import type { CommitAdmin, ImageCommit } from '../servers/http/admin/commit-routes.ts';
import type { NodeStore } from '../store/nodes.ts';
import type { BootSessions } from './boot-sessions.ts';
import type { DiskCopies } from './disk-copies.ts';
import { lockOf } from './image-versions.ts';
import type { JobSpace } from './job-space.ts';
import type { Job, Jobs, JobWork } from './jobs.ts';
import { usedBy } from './overlay-target.ts';

export interface CommitServiceOptions {
  readonly places: Places;
  readonly nodes: NodeStore;
  readonly sessions: BootSessions;
  readonly images: ImageCatalog;
  readonly overlays: OverlayDisks;
  readonly jobs: Jobs;
  readonly copies: DiskCopies;
  readonly turns: Turns;
  readonly space: StoreSpace;
  readonly room: JobSpace;
  readonly clock: Clock;
}

export function createCommitService(options: CommitServiceOptions): CommitAdmin {
  // BOUNDED: one per registered node.
  const running = new Map<NodeName, string>();
  return { commit: (request) => startCommit(request, options, running) };
}

async function startCommit(request: ImageCommit, options: CommitServiceOptions, running: Map<NodeName, string>): Promise<Job> {
  const { nodes, places, images, jobs, room, clock } = options;
  const node = nodes.require(parseNodeName(request.node));
  const { files = [], secrets = [] } = node.settings;
  const choice = { ...choiceOf(request), given: [...files, ...secrets].map(({ path }) => path) };
  const digest = await chooseOverlay(node, request.digest, options);
  const parent = await images.require(digest);
  const name = request.name === undefined ? parent.name : parseImageName(request.name);
  if (!request.dryRun) {
    await refuseOlderVersion(node, parent, request, options);
  }
  const busy = running.get(node.name);
  if (busy !== undefined) {
    throw new UserError('in-use', `Job ${busy} is committing ${node.name} already`, { hint: 'Wait for it, or cancel it' });
  }
  const title = request.dryRun ? `changes of ${node.name}` : `commit ${node.name} as ${name}`;
  const commit = async (signal: AbortSignal, onProgress: OnProgress): Promise<object> => {
    try {
      const result = await commitImage({
        request: {
          parent: digest,
          imageDirectory: join(places.images, digest),
          arch: parent.arch,
          rootFormat: parent.rootFormat,
          name,
          ...(request.message === undefined ? {} : { message: request.message }),
          work: join(places.work, `commit-${node.name}`),
          images: places.images,
          cache: places.cache,
          choice,
          dryRun: request.dryRun,
          now: clock.now(),
        },
        copyDisk: (to) => copyInTurn(node, digest, to, signal, options),
        signal,
        onProgress,
      });
      return await resultView(result, node, parent, name, images);
    } finally {
      running.delete(node.name);
    }
  };
  const work: JobWork = (signal, onProgress) => room.whileRoom(signal, (ended) => commit(ended, onProgress));
  // The parent's boot files are read until the end, so nobody may remove it.
  const job = jobs.start(title, work, { touches: request.dryRun ? [] : [lockOf(parent.name), lockOf(name)] });
  running.set(node.name, job.id);
  return job;
}

/** No boot, snapshot or reset of the node while its disk is read. The rest of a commit works on the copy. */
async function copyInTurn(
  { name }: Node,
  digest: ImageDigest,
  to: string,
  signal: AbortSignal,
  { turns, space, overlays, copies }: CommitServiceOptions,
): Promise<CopiedState> {
  const state = await turns.take([name], 'commit', async () => {
    const bytes = (await overlays.sharesBlocks()) ? 0 : await usedBy(name, digest, { overlays });
    await space.require(bytes, `a copy of the overlay of ${name}`);
    return await copies.take(name, digest, to, signal);
  });
  await checkCopy(name, to, signal);
  return state;
}

/** Paths as people write them, with or without a slash at either end. @throws UserError bad-input */
function choiceOf({ paths, exclude, keepAptLists }: ImageCommit): { paths: string[]; exclude: string[]; keepAptLists: boolean } {
  const absolute = (path: string): string => {
    const names = path.split('/').filter((name) => name !== '');
    if (!path.startsWith('/') || names.length === 0 || names.some((name) => name === '.' || name === '..')) {
      throw new UserError('bad-input', `"${path}" is not a path on the node`, { hint: 'For example /etc or /usr/local' });
    }
    return `/${names.join('/')}`;
  };
  return { paths: paths.map(absolute), exclude: exclude.map(absolute), keepAptLists };
}

/** The overlay that is meant. @throws UserError with the remedy when there is none */
async function chooseOverlay(node: Node, wanted: string | undefined, { overlays, sessions }: CommitServiceOptions): Promise<ImageDigest> {
  const there = await overlayDigests(overlays.directoryOf(node.name));
  const known = there.length === 0 ? 'It has none' : `It has those of: ${there.map(shortDigest).join(', ')}`;
  if (wanted !== undefined) {
    const found = /^[0-9a-f]{6,64}$/.test(wanted) ? there.filter((digest) => digest.startsWith(wanted)) : [];
    const [digest, another] = found;
    if (digest === undefined || another !== undefined) {
      throw new UserError('not-found', `${node.name} has no overlay of the version "${wanted}"`, { hint: known });
    }
    return digest;
  }
  if (node.overlay === 'ephemeral') {
    throw new UserError('bad-input', `${node.name} keeps what it writes in its memory (ephemeral); there is no disk to commit`, {
      hint: `cardless node set ${node.name} --overlay persistent, reboot it, and make the changes again`,
    });
  }
  const session = sessions.of(node.name);
  if (!session) {
    throw new UserError('not-found', `${node.name} has never booted, so it has changed nothing`);
  }
  if (!there.includes(session.digest)) {
    throw new UserError('not-found', `${node.name} has no overlay of the version ${shortDigest(session.digest)}, which it booted last`, {
      hint: there.length === 0 ? 'Boot it, and make the changes' : `${known}; choose one with --digest`,
    });
  }
  return session.digest;
}

async function overlayDigests(directory: string): Promise<ImageDigest[]> {
  const names = await readdir(directory).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') {
      return [];
    }
    throw error;
  });
  return names.flatMap((name) => {
    const digest = /^([0-9a-f]{64})\.img$/.exec(name)?.[1];
    return digest === undefined ? [] : [parseImageDigest(digest)];
  });
}

/** A version that is made from an older one would take the newer one's place, and what is new in that would be gone. */
async function refuseOlderVersion(node: Node, parent: Image, request: ImageCommit, { images }: CommitServiceOptions): Promise<void> {
  if (request.digest !== undefined || request.name !== undefined) {
    return;
  }
  const newest = await images.newest(parent.name, parent.arch);
  if (newest && newest.digest !== parent.digest) {
    throw new UserError(
      'in-use',
      `${node.name} runs the version ${shortDigest(parent.digest)} of ${parent.name}, but ${shortDigest(newest.digest)} is newer: a commit would take its place without having what is new in it`,
      {
        hint: `Reboot ${node.name} and make the changes again, or say that it is meant with --digest ${shortDigest(parent.digest)}, or give it another name with --name`,
      },
    );
  }
}

async function resultView(result: CommitResult, node: Node, parent: Image, name: string, images: ImageCatalog): Promise<object> {
  const next = await images.resolve(node.image, parent.arch);
  const bootsNext = next.kind === 'found' && next.image.digest === result.digest;
  return { ...result, node: node.name, parent: parent.digest, parentName: parent.name, name, arch: parent.arch, bootsNext };
}
