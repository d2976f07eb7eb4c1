/** The published images. Their directories are the truth; there is no second list that could differ. */
import { mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { parsed } from '../config/parsed.ts';
import { messageOf, systemCode, UserError } from '../domain/errors.ts';
import {
  type Architecture,
  architectures,
  type Image,
  type ImageDigest,
  type ImageName,
  parseImageDigest,
  parseImageName,
} from '../domain/image.ts';
import { type ImageRef, type Resolution, requireImages, resolveRef, type TagLookup } from '../domain/image-ref.ts';
import { isKernelArgument } from '../domain/kernel-arguments.ts';
import { syncPath } from '../process/sync-path.ts';
import { manifestDigest } from './publish.ts';

/** What an import or a commit wrote beside these is kept, for people to read. */
const Manifest = z.looseObject({
  name: parsed(parseImageName),
  digest: parsed(parseImageDigest),
  arch: z.enum(architectures),
  kernelVersion: z.string(),
  rootFormat: z.enum(['erofs', 'squashfs']),
  kernelArguments: z.array(z.string().refine(isKernelArgument)).exactOptional(),
  dataVolume: z.boolean().exactOptional(),
  files: z.array(z.object({ path: z.string(), bytes: z.int(), sha256: z.string() })),
  kernels: z.array(z.object({ file: z.string(), version: z.string(), initramfs: z.string() })).exactOptional(),
  configTxt: z.array(z.string()).exactOptional(),
  createdAt: z.string(),
  parent: parsed(parseImageDigest).exactOptional(),
  message: z.string().exactOptional(),
});

/** A directory whose manifest is not what was published. */
export interface BrokenImage {
  readonly digest: ImageDigest;
  readonly reason: string;
}

type Entry = { readonly image: Image } | { readonly broken: BrokenImage };

const noTags: TagLookup = { digestOf: () => undefined };

export class ImageCatalog {
  readonly #directory: string;
  readonly #tags: TagLookup;
  // BOUNDED: one per published image.
  readonly #known = new Map<string, { readonly mtimeMs: number; readonly entry: Entry }>();
  #removed = 0;

  constructor(directory: string, tags: TagLookup = noTags) {
    this.#directory = directory;
    this.#tags = tags;
  }

  /** Newest first. One that is broken is left out: it must not take the others down. */
  async list(): Promise<Image[]> {
    const entries = await this.#entries();
    return entries.flatMap((entry) => ('image' in entry ? [entry.image] : [])).toSorted((a, b) => b.createdAt.localeCompare(a.createdAt));
  }

  async listBroken(): Promise<BrokenImage[]> {
    return (await this.#entries()).flatMap((entry) => ('broken' in entry ? [entry.broken] : []));
  }

  async #entries(): Promise<Entry[]> {
    const names = await readdir(this.#directory).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') {
        return [];
      }
      throw error;
    });
    const digests = names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map(parseImageDigest);
    const entries = await Promise.all(digests.map((digest) => this.#read(digest)));
    return entries.filter((entry) => entry !== undefined);
  }

  /** Parsed once; of an image, only the date in its manifest ever changes. Undefined: removed in this moment. */
  async #read(digest: ImageDigest): Promise<Entry | undefined> {
    const file = join(this.#directory, digest, 'manifest.json');
    let mtimeMs = 0;
    try {
      ({ mtimeMs } = await stat(file));
      const known = this.#known.get(digest);
      if (known?.mtimeMs === mtimeMs) {
        return known.entry;
      }
      const entry = { image: readManifest(await readFile(file, 'utf8'), digest) };
      this.#known.set(digest, { mtimeMs, entry });
      return entry;
    } catch (error) {
      if (systemCode(error) === 'ENOENT' && !(await isDirectory(join(this.#directory, digest)))) {
        return undefined;
      }
      const reason = error instanceof z.ZodError ? z.prettifyError(error).replaceAll('\n', ' ') : messageOf(error);
      const entry = { broken: { digest, reason: `${file}: ${reason}` } };
      // What the system could not read now it may read the next time.
      if (systemCode(error) === undefined) {
        this.#known.set(digest, { mtimeMs, entry });
      }
      return entry;
    }
  }

  /** The newest version of an image for an architecture; undefined when there is none. */
  async newest(name: ImageName, arch: Architecture): Promise<Image | undefined> {
    return (await this.list()).find((image) => image.name === name && image.arch === arch);
  }

  /** What a reference stands for on an architecture, now. */
  async resolve(ref: ImageRef, arch: Architecture): Promise<Resolution> {
    return resolveRef(ref, arch, await this.list(), this.#tags);
  }

  /**
   * One version per architecture, or that of the named one.
   * @throws UserError not-found, bad-input when it is ambiguous
   */
  async requireRef(ref: ImageRef, wanted?: readonly Architecture[]): Promise<[Image, ...Image[]]> {
    return requireImages(ref, await this.list(), this.#tags, wanted);
  }

  async find(digest: ImageDigest): Promise<Image | undefined> {
    return (await this.list()).find((image) => image.digest === digest);
  }

  /** @throws UserError not-found */
  async require(digest: ImageDigest): Promise<Image> {
    const image = await this.find(digest);
    if (!image) {
      throw new UserError('not-found', `The image ${digest} is gone`, { hint: 'cardless image list shows those that are there' });
    }
    return image;
  }

  pathOf(digest: ImageDigest, file: string): string {
    return join(this.#directory, digest, file);
  }

  /**
   * One rename takes it out of sight, whole; then its files go. A kill in between leaves them in `work`, which is emptied
   * at the next start.
   * @throws UserError not-found
   */
  async remove(digest: ImageDigest, work: string): Promise<void> {
    this.#removed += 1;
    const grave = join(work, `removed-${digest}-${this.#removed}`);
    await mkdir(work, { recursive: true });
    await rename(join(this.#directory, digest), grave).catch((cause: unknown) => {
      if (systemCode(cause) === 'ENOENT') {
        throw new UserError('not-found', `The image ${digest} is gone`, { cause });
      }
      throw cause;
    });
    await syncPath(this.#directory);
    this.#known.delete(digest);
    await rm(grave, { recursive: true, force: true });
  }
}

/** A digest covers its manifest, so a bit that flipped there is seen without reading the files. */
export function readManifest(text: string, directory: ImageDigest): Image {
  const raw: object = z.looseObject({}).parse(JSON.parse(text));
  const image = Manifest.parse(raw);
  if (image.digest !== directory || manifestDigest(raw) !== directory) {
    throw new Error('its content is not what was published');
  }
  return image;
}

async function isDirectory(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}
