import type { Clock } from '../domain/clock.ts';
import { UserError } from '../domain/errors.ts';
import { type Image, shortDigest } from '../domain/image.ts';
import { type Node, type NodeName, parseNodeName } from '../domain/node.ts';
import { type CopiedState, labelOfTime, parseDiskSize, parseRootPath, parseSnapshotLabel } from '../domain/overlay.ts';
import type { OnProgress } from '../images/progress.ts';
import { checkCopy } from '../overlays/check-disk.ts';
import { copySparse } from '../overlays/disk-file.ts';
import { viewDirectory } from '../overlays/merged-view.ts';
import { type DiskHolder, endHolders, holdersOf } from '../process/disk-holders.ts';
import type {
  OverlayAdmin,
  OverlayClone,
  OverlayMount,
  OverlayRemove,
  OverlayRestore,
  OverlaySnapshot,
} from '../servers/http/admin/overlay-routes.ts';
import type { NodeStore } from '../store/nodes.ts';
import { namesOf, nodesOf } from './fleet/select-nodes.ts';
import type { Job } from './jobs.ts';
import { endReimage, isAwaited, isInUse, type OverlayServiceOptions, requireRoom, usedBy, versionOf } from './overlay-target.ts';
import { overlayViews, withDisks } from './overlay-views.ts';

const resetsAtOnce = 128;
const lookAgainMs = 500;

export function createOverlayService(options: OverlayServiceOptions): OverlayAdmin {
  const { nodes, turns } = options;
  const each = (title: string, names: readonly NodeName[], work: (name: NodeName, signal: AbortSignal) => Promise<object>): Job =>
    options.jobs.start(`${title} of ${names.join(', ')}`, async (signal, onProgress) => {
      const done: object[] = [];
      for (const [index, name] of names.entries()) {
        signal.throwIfAborted();
        onProgress({ phase: `${title} of ${name}`, fraction: index / names.length });
        done.push(await turns.take([name], title, () => work(name, signal)));
      }
      return { done };
    });
  return {
    list: async (names) => await overlayViews(options, names),
    reset: async (names, { version }) => await resetAll(found(nodes, names), version, options),
    snapshot: (names, request) => each('snapshot', registered(nodes, names), (name, signal) => snapshot(name, request, options, signal)),
    restore: (names, request) => {
      parseSnapshotLabel(request.label);
      return each('restore', registered(nodes, names), (name, signal) => restore(name, request, options, signal));
    },
    clone: (from, request) => startClone(from, request, options),
    mount: (name, request) => each('mount', [parseNodeName(name)], (node, signal) => mount(node, request, options, signal)),
    unmount: async (names) => {
      const done: object[] = [];
      for (const name of namesOf(nodes, names, await withDisks(options))) {
        done.push(await turns.take([name], 'unmount', () => options.views.unmount(name)));
      }
      return done;
    },
    resize: (names, { size }) => {
      const bytes = parseDiskSize(size);
      return each('resize', registered(nodes, names), (name) => resize(name, bytes, options));
    },
    carry: async (names, request) => {
      const paths = request.paths.map(parseRootPath);
      const wanted = await Promise.all(
        found(nodes, names).map(async (node) => ({ node: node.name, from: await versionOf(node.name, request.from, options), paths })),
      );
      return wanted.map(({ node, ...carry }) => {
        nodes.update(node, { carry });
        return { node, carry };
      });
    },
    remove: async (names, request) => {
      const done: object[] = [];
      for (const name of namesOf(nodes, names, await withDisks(options))) {
        done.push(...(await turns.take([name], 'deletion of overlays', () => remove(name, request, options))));
      }
      return done;
    },
  };
}

function found(nodes: NodeStore, names: string): Node[] {
  return nodesOf(nodes, names);
}

function registered(nodes: NodeStore, names: string): NodeName[] {
  return found(nodes, names).map((node) => node.name);
}

/** One that cannot be reset keeps no other from it: it has a reason in the place of its result. */
async function resetAll(all: readonly Node[], version: string | undefined, options: OverlayServiceOptions): Promise<object[]> {
  const waiting = all.entries();
  const done: object[] = [];
  const held = recently(() => holdersOf([options.overlays.directory]), options.clock);
  // Workers share one iterator, so each node is taken once.
  const work = async (): Promise<void> => {
    for (const [index, node] of waiting) {
      const tried = options.turns.take([node.name], 'reset', () => reset(node, version, held, options));
      done[index] = await tried.catch((error: unknown) => notDone(node.name, error));
    }
  };
  const results = await Promise.allSettled(Array.from({ length: resetsAtOnce }, work));
  for (const result of results) {
    if (result.status === 'rejected') {
      throw result.reason;
    }
  }
  return done;
}

function notDone(node: NodeName, error: unknown): object {
  if (!(error instanceof UserError)) {
    throw error;
  }
  return { node, reason: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) };
}

/** For many questions at once: looking at every process for each of them would be most of the work. */
function recently<T>(look: () => Promise<T>, clock: Clock): () => Promise<T> {
  let last: { readonly at: number; readonly found: Promise<T> } | undefined;
  return async () => {
    if (!last || clock.now() - last.at > lookAgainMs) {
      last = { at: clock.now(), found: look() };
    }
    return await last.found;
  };
}

async function reset(
  node: Node,
  version: string | undefined,
  held: () => Promise<readonly DiskHolder[]>,
  options: OverlayServiceOptions,
): Promise<object> {
  const digest = await versionOf(node.name, version, options);
  const facts = { node: node.name, digest };
  const path = options.overlays.pathOf(node.name, digest);
  if ((await isAwaited(node.name, digest, options)) || (await held()).some(({ file }) => file === path)) {
    await options.disks.stageReset(node, { digest });
    return { ...facts, when: 'next boot' };
  }
  await options.disks.reset(node, { digest });
  return { ...facts, when: 'now' };
}

async function snapshot(name: NodeName, request: OverlaySnapshot, options: OverlayServiceOptions, signal: AbortSignal): Promise<object> {
  const { overlays, copies, clock } = options;
  const label = request.as === undefined ? labelOfTime(clock.now()) : parseSnapshotLabel(request.as);
  const digest = await versionOf(name, request.version, options);
  await requireRoom(name, digest, options, `a snapshot of ${name}`);
  let copied: CopiedState | undefined;
  await overlays.snapshot(name, digest, label, async (to) => {
    copied = await copies.takeChecked(name, digest, to, signal);
  });
  return { node: name, digest, label, copied };
}

async function restore(name: NodeName, request: OverlayRestore, options: OverlayServiceOptions, signal: AbortSignal): Promise<object> {
  const { overlays } = options;
  const label = parseSnapshotLabel(request.label);
  const digest = await versionOf(name, request.version, options);
  await requireRoom(name, digest, options, `the state ${label} of ${name}`);
  const staged = await isInUse(name, digest, options);
  await overlays.restore(name, digest, label, { staged, signal });
  await endReimage(name, digest, options);
  return { node: name, digest, label, when: staged ? 'next boot' : 'now' };
}

function startClone(from: string, request: OverlayClone, options: OverlayServiceOptions): Job {
  const source = options.nodes.require(parseNodeName(from)).name;
  const targets = registered(options.nodes, request.to);
  if (targets.includes(source)) {
    throw new UserError('bad-input', `${source} cannot be cloned to itself`, {
      hint: 'cardless overlay snapshot keeps a state of the same node',
    });
  }
  return options.jobs.start(`clone of ${source} to ${targets.join(', ')}`, async (signal, onProgress) => {
    const work = (): Promise<object> => clone(source, targets, request, options, { signal, onProgress });
    return await options.turns.take([source, ...targets], `clone of ${source}`, work);
  });
}

/** Identity is the seed's, at every boot: the clone has its own name, keys and machine-id. */
async function clone(
  source: NodeName,
  targets: readonly NodeName[],
  request: OverlayClone,
  options: OverlayServiceOptions,
  { signal, onProgress }: { readonly signal: AbortSignal; readonly onProgress: OnProgress },
): Promise<object> {
  const { overlays, nodes, images, copies, space } = options;
  const digest = await versionOf(source, request.version, options);
  const image = await images.require(digest);
  const bytes = await usedBy(source, digest, options);
  for (const to of targets) {
    await requireSameVersion(nodes.require(to), image, options);
    await requireRoom(to, digest, options, `the state of ${source} on ${to}`, bytes);
  }
  // Theirs, and the one that they are made from.
  const copiesBytes = (await overlays.sharesBlocks()) ? 0 : bytes * (targets.length + 1);
  await space.require(copiesBytes, `${targets.length} clones of ${source}`);
  const label = parseSnapshotLabel(`clone-of-${source}`.slice(0, 63));
  const copy = `${overlays.pathOf(source, digest)}.clone.partial`;
  const done: object[] = [];
  try {
    const copied = await copies.takeChecked(source, digest, copy, signal);
    for (const [index, to] of targets.entries()) {
      signal.throwIfAborted();
      onProgress({ phase: `copying to ${to}`, fraction: index / targets.length });
      const staged = await isInUse(to, digest, options);
      await overlays.clone(copy, to, digest, label, { staged, signal });
      await endReimage(to, digest, options);
      done.push({ node: to, digest, label, when: staged ? 'next boot' : 'now', copied });
    }
  } finally {
    await overlays.discard(copy);
  }
  return { done };
}

async function requireSameVersion(node: Node, image: Image, options: OverlayServiceOptions): Promise<void> {
  const next = await options.images.resolve(node.image, image.arch);
  const found = next.kind === 'found' ? next.image : undefined;
  if (node.overlay !== 'persistent') {
    throw new UserError('bad-input', `${node.name} has an ephemeral overlay, which keeps nothing`, {
      hint: `cardless node set ${node.name} --overlay persistent`,
    });
  }
  if (found?.digest !== image.digest) {
    throw new UserError(
      'bad-input',
      `${node.name} boots ${node.image}${found ? ` (version ${shortDigest(found.digest)})` : ''}, and the state is of ${image.name} (version ${shortDigest(image.digest)})`,
      {
        hint: 'An overlay belongs to one version of an image; give both nodes the same one first',
      },
    );
  }
}

async function mount(name: NodeName, request: OverlayMount, options: OverlayServiceOptions, signal: AbortSignal): Promise<object> {
  const { overlays, images, views, disks, copies, viewsDirectory, clock } = options;
  let copied: CopiedState | undefined;
  const digest = await versionOf(name, request.version, options);
  const image = await images.require(digest);
  const label = request.snapshot === undefined ? undefined : parseSnapshotLabel(request.snapshot);
  await requireRoom(name, digest, options, `a view of ${name}`);
  const copyDisk = async (to: string): Promise<void> => {
    if (label !== undefined) {
      await copySparse(await overlays.requireSnapshot(name, digest, label), to, signal);
      await checkCopy(name, to, signal);
      return;
    }
    copied = await copies.takeChecked(name, digest, to, signal);
  };
  const view = await views.mount({
    node: name,
    digest,
    directory: viewDirectory(request.directory ?? `${viewsDirectory}/${name}`),
    ...(label === undefined ? {} : { label }),
    mountedAt: clock.now(),
    root: disks.rootOf(image),
    copyDisk,
  });
  return { ...view, ...(copied ? { copied } : {}) };
}

async function resize(name: NodeName, bytes: number, options: OverlayServiceOptions): Promise<object> {
  const { overlays, nodes } = options;
  nodes.require(name);
  const all = await overlays.list(name);
  const now = Math.max(0, ...all.map((overlay) => overlay.virtualBytes));
  if (bytes < now) {
    throw new UserError('bad-input', `An overlay of ${name} has ${now} bytes already, and a disk cannot be made smaller`, {
      hint: `Choose a larger size. cardless overlay rm ${name}, then resize, starts afresh with any size`,
    });
  }
  nodes.set(name, { overlayBytes: bytes });
  let when = 'now';
  for (const { digest, virtualBytes } of all) {
    if (await isInUse(name, digest, options)) {
      when = 'next boot';
    } else if (virtualBytes < bytes) {
      await requireRoom(name, digest, options, `growing an overlay of ${name}, which is tried again at its next boot`);
      await overlays.grow(name, digest, bytes);
    }
  }
  return { node: name, bytes, when };
}

async function remove(name: NodeName, request: OverlayRemove, options: OverlayServiceOptions): Promise<object[]> {
  const { overlays, exports, views } = options;
  const mounted = await views.of(name);
  if (request.snapshot !== undefined) {
    const label = parseSnapshotLabel(request.snapshot);
    const digest = await versionOf(name, request.version, options);
    await overlays.removeSnapshot(name, digest, label);
    return [{ node: name, digest, label }];
  }
  if (mounted) {
    throw new UserError('in-use', `${name} is mounted at ${mounted.directory}`, { hint: `cardless overlay unmount ${name}` });
  }
  const digests =
    request.version === undefined
      ? (await overlays.list(name)).map(({ digest }) => digest)
      : [await versionOf(name, request.version, options)];
  if (digests.length === 0) {
    throw new UserError('not-found', `${name} has no overlay`);
  }
  const paths = digests.map((digest) => overlays.pathOf(name, digest));
  const used = await Promise.all(digests.map((digest) => isInUse(name, digest, options)));
  if (used.includes(true)) {
    if (!request.force) {
      throw new UserError('in-use', `${name} runs on that overlay`, {
        hint: 'Switch it off first. When it is off already, --force ends the connection that it left behind; a node that runs loses its disk and restarts',
      });
    }
  }
  await exports.refuse(paths);
  await endHolders(paths);
  for (const digest of digests) {
    await overlays.removeVersion(name, digest);
  }
  return digests.map((digest) => ({ node: name, digest }));
}
