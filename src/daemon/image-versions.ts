/** Versions of images: which there are, what they are called, who needs them, and how they go. */
import type { Places } from '../config/places.ts';
import { UserError } from '../domain/errors.ts';
import { type Architecture, architectures, type Image, type ImageDigest, parseImageDigest, shortDigest } from '../domain/image.ts';
import { type ImageRef, imageNameOf, latestTag, parseImageRef, parseImageTag, requireImages, versionOf } from '../domain/image-ref.ts';
import type { Node } from '../domain/node.ts';
import type { ImageCatalog } from '../images/catalog.ts';
import { forgetContents, knownSummary } from '../images/contents.ts';
import { findOldTrees, removeOldTrees } from '../images/kept-trees.ts';
import { findGarbage, imageNeeds, imageText, type Needs, type NodeFacts, nextBoots } from '../policy/image-needs.ts';
import type { ImageCollection, ImageSelection, ImageTagging } from '../servers/http/admin/version-routes.ts';
import type { ImageTagStore } from '../store/image-tags.ts';
import type { NodeStore } from '../store/nodes.ts';
import type { BootSessions } from './boot-sessions.ts';
import type { Jobs } from './jobs.ts';
import type { OverlayOfImage } from './overlay-digests.ts';

export interface ImageVersionsOptions {
  readonly places: Places;
  readonly images: ImageCatalog;
  readonly tags: ImageTagStore;
  readonly jobs: Jobs;
  readonly nodes: Pick<NodeStore, 'list'>;
  readonly sessions: Pick<BootSessions, 'of'>;
  readonly overlays: () => Promise<readonly OverlayOfImage[]>;
}

/** What a job that makes or changes versions of an image has for itself. */
export function lockOf(name: string): string {
  return `image ${name}`;
}

export class ImageVersions {
  readonly #options: ImageVersionsOptions;

  constructor(options: ImageVersionsOptions) {
    this.#options = options;
  }

  /** Newest first, the broken ones at the end. */
  async list(): Promise<object[]> {
    const { images } = this.#options;
    const all = await images.list();
    const uses = this.#uses(all);
    const views = all.map((image) => ({ ...imageView(image), ...uses(image) }));
    return [...views, ...(await images.listBroken()).map(({ digest, reason }) => ({ digest, broken: reason }))];
  }

  async show(selection: ImageSelection): Promise<object[]> {
    const { images, places } = this.#options;
    const all = await images.list();
    const uses = this.#uses(all);
    const needs = await this.#needs(all);
    const chosen = await this.select(selection);
    return await Promise.all(
      chosen.map(async (image) => {
        const summary = await knownSummary(places.cache, image.digest);
        return {
          ...image,
          ...imageView(image),
          ...uses(image),
          files: image.files,
          neededBy: (needs.get(image.digest) ?? []).map(({ what }) => what),
          ...(summary ? { packages: summary.packages, rootFiles: summary.files } : {}),
        };
      }),
    );
  }

  /** One version per architecture, or that of the named one. @throws UserError not-found, bad-input */
  async select({ ref, arch }: ImageSelection): Promise<[Image, ...Image[]]> {
    return await this.#options.images.requireRef(parseImageRef(ref), wanted(arch));
  }

  /** @throws UserError also when there is one for several architectures */
  async selectOne(selection: ImageSelection): Promise<Image> {
    const [image, ...others] = await this.select(selection);
    if (others.length > 0) {
      throw new UserError('bad-input', `"${selection.ref}" is ${[image, ...others].map(imageText).join(' and ')}`, {
        hint: `Add --arch ${image.arch}, or name the version by its digest`,
      });
    }
    return image;
  }

  /**
   * What a node may be given. A server without any image takes a bare name, for boards may be registered before the first
   * build; else a name that stands for nothing is a slip of the pen, or wants `force`.
   * @throws UserError bad-input, not-found
   */
  async assignable(text: string, force: boolean): Promise<ImageRef> {
    const ref = parseImageRef(text);
    const all = await this.#options.images.list();
    if (force || (all.length === 0 && versionOf(ref).kind === 'latest')) {
      return ref;
    }
    try {
      const [image] = requireImages(ref, all, this.#options.tags);
      const version = versionOf(ref);
      // So few digits may stand for several versions one day, and then for none.
      const isShort = version.kind === 'digest' && version.prefix.length < shortDigest(image.digest).length;
      return isShort ? parseImageRef(`${image.name}:${shortDigest(image.digest)}`) : ref;
    } catch (error) {
      if (!(error instanceof UserError) || error.code !== 'not-found') {
        throw error;
      }
      throw new UserError('not-found', error.message, { cause: error, hint: `${error.hint ?? ''}. --force takes it all the same` });
    }
  }

  /** Of each node, which need not be in the registry as it is: what it would boot now. */
  async nextOf(nodes: readonly Pick<Node, 'name' | 'image' | 'serial'>[]): Promise<ImageDigest[][]> {
    const images = await this.#options.images.list();
    return nodes.map((node) => nextBoots(this.#factsOf(node), { images, tags: this.#options.tags }));
  }

  async tag({ tag, ...selection }: ImageTagging): Promise<object[]> {
    const chosen = parseImageTag(tag);
    const images = await this.select(selection);
    const before = images.map(({ name, arch }) => this.#options.tags.digestOf(name, arch, chosen));
    this.#options.tags.set(images, chosen);
    return images.map((image, index) => {
      const from = before[index];
      return { ...tagView(image, chosen), ...(from === undefined || from === image.digest ? {} : { movedFrom: from }) };
    });
  }

  untag({ ref, arch }: ImageSelection): object[] {
    const parsed = parseImageRef(ref);
    const version = versionOf(parsed);
    if (version.kind !== 'tag') {
      throw new UserError('bad-input', `"${ref}" names no tag that can be taken away`, { hint: 'For example debian-13:stable' });
    }
    const users = this.#options.nodes.list().filter((node) => node.image === ref);
    if (users.length > 0) {
      throw new UserError('in-use', `${ref} is what ${users.map(({ name }) => name).join(', ')} boots`, {
        hint: 'Give them another image first (node set), or move the tag to another version (image tag)',
      });
    }
    const removed = this.#options.tags.remove(imageNameOf(parsed), version.tag, wanted(arch));
    if (removed.length === 0) {
      throw new UserError('not-found', `No version of ${imageNameOf(parsed)} has the tag "${version.tag}"`, {
        hint: 'cardless image list shows the tags',
      });
    }
    return removed;
  }

  /** @throws UserError in-use, which names who needs it */
  async remove(selection: ImageSelection): Promise<object> {
    const { images, places, jobs } = this.#options;
    const broken = (await images.listBroken()).find(({ digest }) => digest === selection.ref);
    if (broken) {
      await this.#refuseIfNeeded(broken.digest, broken.digest);
      await images.remove(broken.digest, places.work);
      return { digest: broken.digest };
    }
    const image = await this.#selectForRemoval(selection);
    const busy = jobs.touching([lockOf(image.name)]);
    if (busy) {
      throw new UserError('in-use', `Job ${busy.id} (${busy.title}) works on ${image.name}`, { hint: `cardless job watch ${busy.id}` });
    }
    await this.#refuseIfNeeded(image.digest, imageText(image));
    await this.#removeNow(image);
    return removedView(image);
  }

  /** A bare name or `latest` says nothing of a version that somebody has looked at. */
  async #selectForRemoval(selection: ImageSelection): Promise<Image> {
    const ref: ImageRef = /^[0-9a-f]{64}$/.test(selection.ref)
      ? await this.#refOfDigest(parseImageDigest(selection.ref))
      : parseImageRef(selection.ref);
    if (versionOf(ref).kind === 'latest') {
      const known = (await this.#options.images.list()).filter(({ name }) => name === imageNameOf(ref));
      throw new UserError('bad-input', `"${ref}" names no version`, {
        hint: known.length === 0 ? 'cardless image list shows all' : `There is ${known.map(imageText).join(', ')}`,
      });
    }
    return await this.selectOne({ ...selection, ref });
  }

  async #refOfDigest(digest: ImageDigest): Promise<ImageRef> {
    const { name } = await this.#options.images.require(digest);
    return parseImageRef(`${name}:${digest}`);
  }

  async #refuseIfNeeded(digest: ImageDigest, text: string): Promise<void> {
    const who = (await this.#needs(await this.#options.images.list())).get(digest) ?? [];
    if (who.length > 0) {
      throw new UserError('in-use', `${text} is needed: ${who.map(({ what }) => what).join('; ')}`, {
        hint: 'Give nodes another image (node set), take tags away (image untag), reboot what runs on it, or remove the overlay',
      });
    }
  }

  async collect({ dryRun, keep }: ImageCollection): Promise<object> {
    const { images, jobs, places } = this.#options;
    const all = await images.list();
    const needs = await this.#needs(all);
    const busy = (image: Image): boolean => jobs.touching([lockOf(image.name)]) !== undefined;
    const { remove, kept } = findGarbage({ images: all, needs, keep, busy });
    const removed: Image[] = [];
    for (const image of remove) {
      // To delete one takes a while, in which somebody may have come to need the next.
      if (!dryRun && (busy(image) || (await this.#needs(await images.list())).has(image.digest))) {
        continue;
      }
      if (!dryRun) {
        await this.#removeNow(image);
      }
      removed.push(image);
    }
    const trees = await (dryRun ? findOldTrees : removeOldTrees)(places.cache, new Date());
    return {
      dryRun,
      trees,
      removed: removed.map(removedView),
      bytes: removed.reduce((sum, image) => sum + totalBytes(image), 0),
      kept: kept.map(({ image, why }) => ({ name: image.name, digest: image.digest, arch: image.arch, why })),
    };
  }

  async #removeNow(image: Image): Promise<void> {
    const { images, places } = this.#options;
    await images.remove(image.digest, places.work);
    await forgetContents(places.cache, image.digest);
  }

  async #needs(images: readonly Image[]): Promise<Needs> {
    const { tags, overlays } = this.#options;
    const broken = (await this.#options.images.listBroken()).map(({ digest }) => digest);
    return imageNeeds({ images, broken, tags, overlays: await overlays(), nodes: this.#nodeFacts() });
  }

  #nodeFacts(): NodeFacts[] {
    return this.#options.nodes.list().map((node) => this.#factsOf(node));
  }

  #factsOf({ name, image, serial }: Pick<Node, 'name' | 'image' | 'serial'>): NodeFacts {
    const session = this.#options.sessions.of(name);
    const mayRun = session?.outcome === 'running' || session?.outcome === 'ready';
    return {
      name,
      image,
      ...(serial === undefined ? {} : { serial }),
      ...(session && mayRun ? { boot: { arch: session.arch, digest: session.digest } } : {}),
    };
  }

  /** What the nodes and the tags make of an image. */
  #uses(all: readonly Image[]): (image: Image) => object {
    const { tags } = this.#options;
    const nodes = this.#nodeFacts();
    const next = nodes.flatMap((node) => nextBoots(node, { images: all, tags }));
    const running = nodes.flatMap(({ boot }) => boot?.digest ?? []);
    return (image) => {
      const isLatest = all.find(({ name, arch }) => name === image.name && arch === image.arch)?.digest === image.digest;
      const count = (digests: readonly ImageDigest[]): number => digests.filter((digest) => digest === image.digest).length;
      return { tags: [...(isLatest ? [latestTag] : []), ...tags.of(image.digest)], nodes: count(next), running: count(running) };
    };
  }
}

function wanted(arch: Architecture | undefined): readonly Architecture[] {
  return arch === undefined ? architectures : [arch];
}

/** For listings: totals in place of the list of files. */
export function imageView({ files, ...image }: Image): object {
  const sizeOf = (matches: (path: string) => boolean): number =>
    files.filter((file) => matches(file.path)).reduce((sum, file) => sum + file.bytes, 0);
  return { ...image, rootBytes: sizeOf((path) => path === 'root.img'), bootBytes: sizeOf((path) => path.startsWith('boot/')) };
}

function totalBytes(image: Image): number {
  return image.files.reduce((sum, file) => sum + file.bytes, 0);
}

function removedView(image: Image): object {
  return { name: image.name, digest: image.digest, arch: image.arch, bytes: totalBytes(image) };
}

function tagView({ name, arch, digest }: Image, tag: string): object {
  return { name, arch, tag, digest };
}
