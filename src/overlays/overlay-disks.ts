/**
 * The disks that persistent nodes write to: sparse ext4 files, one per node and image version.
 *
 *   NODE/DIGEST.img               the disk
 *   NODE/DIGEST@LABEL.img         a snapshot of it
 *   NODE/DIGEST.next@LABEL.img    what takes the disk's place at the node's next boot
 */
import { mkdir, readdir, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../domain/errors.ts';
import { type ImageDigest, parseImageDigest, shortDigest } from '../domain/image.ts';
import { isNodeName, type NodeName } from '../domain/node.ts';
import { type Overlay, type OverlaySnapshot, parseSnapshotLabel, type SnapshotLabel } from '../domain/overlay.ts';
import { syncPath } from '../process/sync-path.ts';
import { copySparse, DiskTemplates, growDisk, namesIn, newIdentity, removePartials, replaceFile, statOf, Trash } from './disk-file.ts';
import { Reflinks } from './reflinks.ts';

const trashName = '.trash';
/** What is staged for a reset is named so. */
const freshLabel = parseSnapshotLabel('fresh');
const fileName = /^([0-9a-f]{64})(?:(\.next)?@([a-z0-9._-]+))?\.img$/;

export interface OverlayDisksOptions {
  readonly directory: string;
  /** Size that the node sees; the file takes only what was written. */
  readonly bytes: number;
}

interface StageOptions {
  /** At the next boot of this version, and not now. */
  readonly staged: boolean;
  readonly signal: AbortSignal;
}

interface DiskFile {
  readonly digest: ImageDigest;
  readonly kind: 'disk' | 'snapshot' | 'next';
  readonly label: SnapshotLabel | undefined;
  readonly usedBytes: number;
  readonly virtualBytes: number;
  readonly createdAt: number;
  readonly changedAt: number;
}

export class OverlayDisks {
  readonly #directory: string;
  readonly #bytes: number;
  readonly #templates: DiskTemplates;
  readonly #trash: Trash;
  readonly #reflinks: Reflinks;

  constructor(options: OverlayDisksOptions) {
    this.#directory = options.directory;
    this.#bytes = options.bytes;
    this.#templates = new DiskTemplates(options.directory);
    this.#trash = new Trash(join(options.directory, trashName));
    this.#reflinks = new Reflinks(options.directory);
  }

  /** Once, before anything else: what an earlier run left half-made or half-deleted goes. */
  async start(): Promise<void> {
    await removePartials(this.#directory);
    this.#trash.empty();
  }

  /** For tests and measurements: until all that was deleted gave its blocks back. */
  async emptied(): Promise<void> {
    await this.#trash.emptied();
  }

  /** Does a copy of a disk take no space until one of them is written to? */
  async sharesBlocks(): Promise<boolean> {
    return await this.#reflinks.here();
  }

  /** A file of this store that is not needed any more. */
  async discard(file: string): Promise<void> {
    await this.#trash.take(file);
  }

  get directory(): string {
    return this.#directory;
  }

  directoryOf(node: NodeName): string {
    return join(this.#directory, node);
  }

  pathOf(node: NodeName, digest: ImageDigest): string {
    return join(this.directoryOf(node), `${digest}.img`);
  }

  snapshotPathOf(node: NodeName, digest: ImageDigest, label: SnapshotLabel): string {
    return join(this.directoryOf(node), `${digest}@${label}.img`);
  }

  async exists(node: NodeName, digest: ImageDigest): Promise<boolean> {
    return (await statOf(this.pathOf(node, digest))) !== undefined;
  }

  /** Nodes that have a disk here, registered or not. */
  async nodes(): Promise<NodeName[]> {
    const entries = await readdir(this.#directory, { withFileTypes: true }).catch(() => []);
    return entries
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
      .filter(isNodeName);
  }

  /** Newest use first. */
  async list(node: NodeName): Promise<Overlay[]> {
    const files = await this.#files(node);
    const overlays = files
      .filter((file) => file.kind === 'disk')
      .map(({ digest, usedBytes, virtualBytes, createdAt, changedAt }): Overlay => {
        const ofDisk = files.filter((file) => file.digest === digest);
        const staged = ofDisk.find((file) => file.kind === 'next')?.label;
        const snapshots = ofDisk.flatMap((file) => asSnapshot(file)).toSorted((a, b) => a.createdAt - b.createdAt);
        return { digest, usedBytes, virtualBytes, createdAt, changedAt, snapshots, ...(staged === undefined ? {} : { staged }) };
      });
    return overlays.toSorted((a, b) => b.changedAt - a.changedAt);
  }

  /** Also of versions whose disk is gone. */
  async snapshots(node: NodeName, digest: ImageDigest): Promise<OverlaySnapshot[]> {
    const files = (await this.#files(node)).filter((file) => file.digest === digest);
    return files.flatMap((file) => asSnapshot(file)).toSorted((a, b) => a.createdAt - b.createdAt);
  }

  /**
   * An empty disk in the place of whatever was there. The new file takes the old one's name by rename, so a node that
   * still runs on the old one keeps it, and a crash leaves either of the two.
   */
  async reset(
    node: NodeName,
    digest: ImageDigest,
    { bytes = this.#bytes, prepare }: { readonly bytes?: number; readonly prepare?: (partial: string) => Promise<void> } = {},
  ): Promise<void> {
    await this.#dropStaged(node, digest);
    await this.#templates.make(this.pathOf(node, digest), bytes, prepare);
  }

  /** An empty disk takes this one's place at the next boot of this version. */
  async stageFresh(node: NodeName, digest: ImageDigest, { bytes }: { readonly bytes: number }): Promise<void> {
    await this.#templates.make(this.#stagedPathOf(node, digest, freshLabel), bytes);
    await this.#dropStaged(node, digest, freshLabel);
  }

  /** `copy` writes a clean disk to the path it is given. @throws UserError not-found (nothing to keep), already-exists */
  async snapshot(node: NodeName, digest: ImageDigest, label: SnapshotLabel, copy: (to: string) => Promise<void>): Promise<void> {
    const target = this.snapshotPathOf(node, digest, label);
    await this.requireDisk(node, digest);
    if ((await statOf(target)) !== undefined) {
      throw new UserError('already-exists', `${node} has a snapshot "${label}" already`, {
        hint: `Choose another label, or delete it: cardless overlay rm ${node} --snapshot ${label}`,
      });
    }
    await replaceFile(target, copy);
  }

  /** The snapshot's state becomes the disk: now, or at the next boot. @throws UserError not-found with the labels that exist */
  async restore(node: NodeName, digest: ImageDigest, label: SnapshotLabel, { staged, signal }: StageOptions): Promise<void> {
    await this.#stage(node, digest, label, { source: await this.requireSnapshot(node, digest, label), signal });
    if (!staged) {
      await this.applyStaged(node, digest);
    }
  }

  /** @throws UserError not-found with the labels that exist */
  async requireSnapshot(node: NodeName, digest: ImageDigest, label: SnapshotLabel): Promise<string> {
    const file = this.snapshotPathOf(node, digest, label);
    if ((await statOf(file)) === undefined) {
      const known = (await this.snapshots(node, digest)).map((snapshot) => snapshot.label);
      throw new UserError('not-found', `${node} has no snapshot "${label}" of version ${shortDigest(digest)}`, {
        hint: known.length === 0 ? `It has none. Take one: cardless overlay snapshot ${node}` : `It has: ${known.join(', ')}`,
      });
    }
    return file;
  }

  /** `source` is a disk at rest. The copy gets an identity of its own: a client must not take it for the disk it knew. */
  async clone(source: string, to: NodeName, digest: ImageDigest, label: SnapshotLabel, { staged, signal }: StageOptions): Promise<void> {
    await this.#stage(to, digest, label, { source, signal });
    if (!staged) {
      await this.applyStaged(to, digest);
    }
  }

  #stagedPathOf(node: NodeName, digest: ImageDigest, label: SnapshotLabel): string {
    return join(this.directoryOf(node), `${digest}.next@${label}.img`);
  }

  async #stage(
    node: NodeName,
    digest: ImageDigest,
    label: SnapshotLabel,
    { source, signal }: { readonly source: string; readonly signal: AbortSignal },
  ): Promise<void> {
    await replaceFile(this.#stagedPathOf(node, digest, label), async (partial) => {
      await copySparse(source, partial, signal);
      await newIdentity(partial);
    });
    await this.#dropStaged(node, digest, label);
  }

  /** For the moment when nobody uses the disk. Gives the label of what is the disk now, if anything was staged. */
  async applyStaged(node: NodeName, digest: ImageDigest): Promise<SnapshotLabel | undefined> {
    const [staged, ...others] = (await this.#files(node))
      .filter((file) => file.digest === digest && file.kind === 'next')
      .toSorted((a, b) => b.createdAt - a.createdAt);
    if (staged?.label === undefined) {
      return undefined;
    }
    const directory = this.directoryOf(node);
    await rename(join(directory, `${digest}.next@${staged.label}.img`), this.pathOf(node, digest));
    await syncPath(directory);
    for (const other of others) {
      await this.#trash.take(join(directory, `${digest}.next@${other.label}.img`));
    }
    return staged.label;
  }

  async #dropStaged(node: NodeName, digest: ImageDigest, but?: SnapshotLabel): Promise<void> {
    for (const file of await this.#files(node)) {
      if (file.digest === digest && file.kind === 'next' && file.label !== but) {
        await this.#trash.take(join(this.directoryOf(node), `${digest}.next@${file.label}.img`));
      }
    }
  }

  /** For the moment when nobody uses the disk. False when it is as large already. */
  async grow(node: NodeName, digest: ImageDigest, bytes: number): Promise<boolean> {
    const disk = await stat(this.pathOf(node, digest));
    if (disk.size >= bytes) {
      return false;
    }
    await growDisk(this.pathOf(node, digest), bytes);
    return true;
  }

  /** A copy with changes takes the disk's place. For the moment when nobody uses it. */
  async rewrite(node: NodeName, digest: ImageDigest, change: (partial: string) => Promise<void>): Promise<void> {
    const disk = this.pathOf(node, digest);
    await replaceFile(disk, async (partial) => {
      await copySparse(disk, partial);
      await change(partial);
    });
  }

  /** The disk of one version, with its snapshots. */
  async removeVersion(node: NodeName, digest: ImageDigest): Promise<void> {
    const names = (await namesIn(this.directoryOf(node))).filter((name) => fileName.exec(name)?.[1] === digest);
    for (const name of names) {
      await this.#trash.take(join(this.directoryOf(node), name));
    }
  }

  /** @throws UserError not-found */
  async removeSnapshot(node: NodeName, digest: ImageDigest, label: SnapshotLabel): Promise<void> {
    await this.#trash.take(await this.requireSnapshot(node, digest, label));
  }

  async remove(node: NodeName): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await this.#trash.take(this.directoryOf(node));
  }

  /** What the node's disks and snapshots really take, in bytes. */
  async used(node: NodeName): Promise<number> {
    return (await this.#files(node)).reduce((sum, file) => sum + file.usedBytes, 0);
  }

  /** @throws UserError not-found */
  async requireDisk(node: NodeName, digest: ImageDigest): Promise<void> {
    if (!(await this.exists(node, digest))) {
      throw new UserError('not-found', `${node} has no overlay of version ${shortDigest(digest)}`, {
        hint: `cardless overlay show ${node} lists what it has; a persistent overlay is made at the node's first boot`,
      });
    }
  }

  async #files(node: NodeName): Promise<DiskFile[]> {
    const files = await Promise.all((await namesIn(this.directoryOf(node))).map((name) => this.#describe(node, name)));
    return files.filter((file) => file !== undefined);
  }

  async #describe(node: NodeName, name: string): Promise<DiskFile | undefined> {
    const [, digest, next, label] = fileName.exec(name) ?? [];
    // It may be deleted at any moment of this.
    const found = digest === undefined ? undefined : await statOf(join(this.directoryOf(node), name));
    if (digest === undefined || !found) {
      return undefined;
    }
    return {
      digest: parseImageDigest(digest),
      kind: label === undefined ? 'disk' : next === undefined ? 'snapshot' : 'next',
      label: label === undefined ? undefined : parseSnapshotLabel(label),
      usedBytes: Number(found.blocks) * 512,
      virtualBytes: Number(found.size),
      createdAt: Math.round(Number(found.birthtimeMs)),
      changedAt: Math.round(Number(found.mtimeMs)),
    };
  }
}

function asSnapshot({ kind, label, usedBytes, createdAt }: DiskFile): OverlaySnapshot[] {
  return kind === 'snapshot' && label !== undefined ? [{ label, usedBytes, createdAt }] : [];
}
