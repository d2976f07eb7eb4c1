/** The published images. Their directories are the truth; there is no second list that could differ. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { parsed } from '../config/parsed.ts';
import { systemCode, UserError } from '../domain/errors.ts';
import {
  type Architecture,
  architectures,
  type Image,
  type ImageDigest,
  type ImageName,
  parseImageDigest,
  parseImageName,
} from '../domain/image.ts';

const Manifest = z.object({
  name: parsed(parseImageName),
  digest: parsed(parseImageDigest),
  arch: z.enum(architectures),
  kernelVersion: z.string(),
  rootFormat: z.enum(['erofs', 'squashfs']),
  dataVolume: z.boolean().optional(),
  files: z.array(z.object({ path: z.string(), bytes: z.int(), sha256: z.string() })),
  createdAt: z.string(),
});

export class ImageCatalog {
  readonly #directory: string;
  // BOUNDED: one per published image.
  readonly #known = new Map<string, { readonly mtimeMs: number; readonly image: Image }>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Newest first. */
  async list(): Promise<Image[]> {
    const names = await readdir(this.#directory).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') {
        return [];
      }
      throw error;
    });
    const images = await Promise.all(names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((name) => this.#read(name)));
    return images.toSorted((a, b) => b.createdAt.localeCompare(a.createdAt));
  }

  /** Parsed once; of an image, only the date in its manifest ever changes. */
  async #read(name: string): Promise<Image> {
    const file = join(this.#directory, name, 'manifest.json');
    try {
      const { mtimeMs } = await stat(file);
      const known = this.#known.get(name);
      if (known?.mtimeMs === mtimeMs) {
        return known.image;
      }
      const { dataVolume, ...facts } = Manifest.parse(JSON.parse(await readFile(file, 'utf8')));
      const image: Image = { ...facts, ...(dataVolume === undefined ? {} : { dataVolume }) };
      this.#known.set(name, { mtimeMs, image });
      return image;
    } catch (error) {
      throw new UserError('failed', `The manifest ${file} cannot be read`, {
        cause: error,
        hint: 'Remove that image directory and build the image again',
      });
    }
  }

  /** The newest version of an image for an architecture; undefined when there is none. */
  async newest(name: ImageName, arch: Architecture): Promise<Image | undefined> {
    return (await this.list()).find((image) => image.name === name && image.arch === arch);
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
}
