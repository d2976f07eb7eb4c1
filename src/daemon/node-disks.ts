/** A node's disks, made fit for the boot that asks for them: nobody else on them, as large as wanted, checked. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, UserError } from '../domain/errors.ts';
import { type Image, type ImageDigest, shortDigest } from '../domain/image.ts';
import type { Node, NodeName } from '../domain/node.ts';
import type { ImageCatalog } from '../images/catalog.ts';
import { carryPaths, type RootImage } from '../overlays/carry.ts';
import { checkDisk } from '../overlays/check-disk.ts';
import type { DataVolumes } from '../overlays/data-volumes.ts';
import { statOf } from '../overlays/disk-file.ts';
import type { OverlayDisks } from '../overlays/overlay-disks.ts';
import type { StoreSpace } from '../overlays/store-space.ts';
import type { Turns } from '../overlays/turns.ts';
import type { NodeStore } from '../store/nodes.ts';
import type { Exports, NodeDisks } from './exports.ts';

export interface NodeDisksOptions {
  readonly nodes: NodeStore;
  readonly images: ImageCatalog;
  readonly overlays: OverlayDisks;
  readonly data: DataVolumes;
  readonly space: StoreSpace;
  readonly exports: Exports;
  readonly turns: Turns;
  /** Of settings: what a node has that was not told otherwise. */
  readonly overlayBytes: number;
  readonly dataBytes: number;
  /** Where halves of work are mounted. */
  readonly work: string;
  /** Ends every connection to files below these paths, and resolves when no process has one open. */
  readonly fence: (paths: readonly string[]) => Promise<unknown>;
}

/** A line of the boot's timeline. */
export type OnDiskNews = (what: string, detail?: string) => void;

/** A new disk takes this much at once. */
export const newDiskBytes = 2 ** 20;

export class NodeDisksMaker {
  readonly #options: NodeDisksOptions;

  constructor(options: NodeDisksOptions) {
    this.#options = options;
  }

  directoriesOf(node: NodeName): readonly string[] {
    return [this.#options.overlays.directoryOf(node), this.#options.data.directoryOf(node)];
  }

  /** Is it the whole of a node's turn: whatever else is done with its disks has ended, and waits from now on. */
  async inTurn<T>(node: NodeName, work: () => Promise<T>): Promise<T> {
    return await this.#options.turns.wait(node, 'its boot', work);
  }

  /**
   * Within `inTurn`. A machine that asks for its plan has no disk attached yet, so whoever is connected to one of its disks
   * is what it was before: it is cut off for good before anything else touches the disk.
   * @throws UserError when a disk cannot be used, with what to do
   */
  async prepare(node: Node, image: Image, news: OnDiskNews): Promise<NodeDisks> {
    const { overlays, data, nodes, images, exports } = this.#options;
    const directories = this.directoriesOf(node.name);
    await exports.withdraw(directories);
    await this.#options.fence(directories);
    const persistent = node.overlay === 'persistent';
    if (persistent) {
      await this.#prepareOverlay(node, image, news);
    } else if (node.reimage) {
      nodes.update(node.name, { reimage: false });
    }
    const dataBytes = this.dataBytesOf(node, image);
    if (dataBytes > 0) {
      await this.#prepareData(node, dataBytes, news);
    }
    return {
      directories,
      root: images.pathOf(image.digest, 'root.img'),
      ...(persistent ? { overlay: overlays.pathOf(node.name, image.digest) } : {}),
      ...(dataBytes > 0 ? { data: data.pathOf(node.name) } : {}),
    };
  }

  /** 0 is none. */
  dataBytesOf(node: Node, image: Image | undefined): number {
    return node.dataBytes ?? (image?.dataVolume ? this.#options.dataBytes : 0);
  }

  overlayBytesOf(node: Node): number {
    return node.overlayBytes ?? this.#options.overlayBytes;
  }

  /** Each wish ends when it is done; a crash in between does it once more. */
  async #prepareOverlay(node: Node, image: Image, news: OnDiskNews): Promise<void> {
    const { overlays, nodes } = this.#options;
    const { name, reimage } = node;
    const bytes = this.overlayBytesOf(node);
    const staged = reimage ? undefined : await overlays.applyStaged(name, image.digest);
    if (staged !== undefined) {
      news('overlay restored', staged);
    }
    if (reimage || !(await overlays.exists(name, image.digest))) {
      await this.reset(node, image);
      news('overlay made', shortDigest(image.digest));
    }
    if (reimage) {
      nodes.update(name, { reimage: false });
    }
    const disk = overlays.pathOf(name, image.digest);
    await this.#check(
      node,
      disk,
      'overlay',
      news,
      `cardless overlay reset ${name} gives it a fresh one, cardless overlay restore ${name} LABEL an earlier state`,
    );
    await this.#grow('overlay', news, bytes, async () => {
      if (!(await this.#isSmaller(disk, bytes, `growing the overlay of ${name}`, overlays))) {
        return false;
      }
      return await overlays.grow(name, image.digest, bytes);
    });
    await this.#carry(node, image, news);
  }

  /** A fresh disk of this version. @throws UserError no-space */
  async reset(node: Node, { digest }: Pick<Image, 'digest'>): Promise<void> {
    await this.#options.space.require(newDiskBytes, `an overlay of ${node.name}`);
    await this.#options.overlays.reset(node.name, digest, { bytes: this.overlayBytesOf(node) });
  }

  /** The same for a version that may be in use: at its next boot. @throws UserError no-space */
  async stageReset(node: Node, { digest }: Pick<Image, 'digest'>): Promise<void> {
    await this.#options.space.require(newDiskBytes, `an overlay of ${node.name}`);
    await this.#options.overlays.stageFresh(node.name, digest, { bytes: this.overlayBytesOf(node) });
  }

  /** A node that boots with its disk as large as it was is better than one that does not boot. */
  async #grow(what: string, news: OnDiskNews, bytes: number, grow: () => Promise<boolean>): Promise<void> {
    try {
      if (await grow()) {
        news(`${what} grown`, `${bytes} bytes`);
      }
    } catch (error) {
      if (!(error instanceof UserError)) {
        throw error;
      }
      news(`${what} not grown`, error.message);
    }
  }

  /** If so, there is room to grow it, which is done with a copy. @throws UserError no-space */
  async #isSmaller(disk: string, bytes: number, what: string, store: Pick<OverlayDisks, 'sharesBlocks'>): Promise<boolean> {
    const found = await statOf(disk);
    if (!found || Number(found.size) >= bytes) {
      return false;
    }
    await this.#options.space.require((await store.sharesBlocks()) ? 0 : Number(found.blocks) * 512, what);
    return true;
  }

  async #prepareData(node: Node, bytes: number, news: OnDiskNews): Promise<void> {
    const { data, space } = this.#options;
    if ((await data.of(node.name)) === undefined) {
      await space.require(newDiskBytes, `a data volume of ${node.name}`);
      await data.ensure(node.name, bytes);
      news('data volume made', `${bytes} bytes`);
      return;
    }
    const disk = data.pathOf(node.name);
    await this.#check(
      node,
      disk,
      'data volume',
      news,
      `e2fsck -y ${disk} repairs what it can and may lose files; cardless node set ${node.name} --no-data boots without it`,
    );
    await this.#grow('data volume', news, bytes, async () => {
      const isSmaller = await this.#isSmaller(disk, bytes, `growing the data volume of ${node.name}`, data);
      return isSmaller && (await data.ensure(node.name, bytes)) === 'grown';
    });
  }

  async #check(node: Node, disk: string, what: string, news: OnDiskNews, remedy: string): Promise<void> {
    const { ok, result } = await checkDisk(disk);
    news(`${what} checked`, result);
    if (!ok) {
      throw new UserError('failed', `The ${what} of ${node.name} is damaged: ${result}`, { hint: remedy });
    }
  }

  async #carry(node: Node, image: Image, news: OnDiskNews): Promise<void> {
    const { nodes } = this.#options;
    if (!node.carry) {
      return;
    }
    // A path that is not there must not keep the node from booting ever again.
    const done = await this.carry(node, image).catch((error: unknown) => {
      if (!(error instanceof UserError)) {
        throw error;
      }
      return `FAILED: ${messageOf(error)}`;
    });
    // Somebody may have wished for something else meanwhile.
    if (nodes.get(node.name)?.carry === node.carry) {
      nodes.update(node.name, { carry: null });
    }
    news('carried over', done);
  }

  /** Within a turn, with nobody on the disks. @throws UserError */
  async carry(node: Node, to: Image): Promise<string> {
    const { overlays, work, images, space } = this.#options;
    const { name, carry } = node;
    if (!carry || carry.from === to.digest) {
      return 'nothing: it is the same version';
    }
    const from = await images.require(carry.from);
    if (!(await overlays.exists(name, from.digest))) {
      throw new UserError('not-found', `${name} has no overlay of version ${shortDigest(from.digest)}`);
    }
    const source = overlays.pathOf(name, from.digest);
    const requireWhole = async (disk: string, version: ImageDigest): Promise<void> => {
      const { ok, result } = await checkDisk(disk, { full: true });
      if (!ok) {
        throw new UserError('failed', `The overlay of ${name} of version ${shortDigest(version)} is damaged: ${result}`);
      }
    };
    await requireWhole(source, from.digest);
    const copied = Number((await statOf(overlays.pathOf(name, to.digest)))?.blocks ?? 0) * 512;
    await space.require((await overlays.sharesBlocks()) ? 0 : copied, `what is carried over on ${name}`);
    const place = join(work, `carry-${name}`);
    await mkdir(place, { recursive: true });
    await overlays.rewrite(name, to.digest, async (disk) => {
      await requireWhole(disk, to.digest);
      await carryPaths({
        from: { root: this.rootOf(from), disk: source },
        to: { root: this.rootOf(to), disk },
        paths: carry.paths,
        work: place,
      });
    });
    return `${carry.paths.map((path) => `/${path}`).join(' ')} from ${shortDigest(from.digest)}`;
  }

  rootOf(image: Image): RootImage {
    return { file: this.#options.images.pathOf(image.digest, 'root.img'), format: image.rootFormat };
  }
}
