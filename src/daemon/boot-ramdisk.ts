/** boot.img and boot.sig of a boot: its board's whole boot partition as one file, and the operator's signature of it. */
import { createHash, createSign, type KeyObject } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, constants as fileConstants, mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BootSession } from '../domain/boot-session.ts';
import type { Image } from '../domain/image.ts';
import { makeFatImage, putIntoFatImage } from '../images/fat-image.ts';
import { clusterBytes, ramdiskBytes, ramdiskFiles } from '../policy/boot-ramdisk.ts';
import { innerConfigTxt } from '../policy/render-config.ts';
import { encodeBootSignature } from '../protocol/pi/boot-signature.ts';
import type { BootFiles } from './file-sources.ts';

const maxImages = 64;
const maxTemplates = 8;

export const ramdiskNames = ['boot.img', 'boot.sig'] as const;
export type RamdiskName = (typeof ramdiskNames)[number];

export interface BootRamdisksOptions {
  /** For half-made things: what is in it can be made again, with the same bytes. */
  readonly directory: string;
  readonly pathOf: (image: Image, file: string) => string;
  /** Absent: boot.img is served and boot.sig is not. */
  readonly key: KeyObject | undefined;
}

interface Ramdisk {
  readonly image: Image;
  readonly session: Pick<BootSession, 'id' | 'startedAt'>;
  readonly texts: Readonly<Record<string, string>>;
}

/**
 * Each boot has its own files, made when they are first asked for: a copy of what all boards of an image version share,
 * with this boot's two texts. They depend on the boot's session alone, so what was dropped comes back the same.
 */
export class BootRamdisks {
  readonly #options: BootRamdisksOptions;
  // BOUNDED: at most maxTemplates and maxImages; what was used longest ago is deleted. Who reads it still has it open.
  readonly #templates = new Map<string, Promise<string>>();
  readonly #files = new Map<string, Promise<string>>();
  readonly #signatures = new Map<string, Promise<string>>();
  /** In every name, so that a file that is being deleted is never the one that is being made. */
  #made = 0;

  constructor(options: BootRamdisksOptions) {
    this.#options = options;
  }

  get isSigned(): boolean {
    return this.#options.key !== undefined;
  }

  /** A file that holds it; undefined when nobody boots a Pi here, or when there is no key to sign with. */
  async find(name: RamdiskName, boot: BootFiles): Promise<string | undefined> {
    const config = boot.text('config.txt');
    const cmdline = boot.text('cmdline.txt');
    if (!boot.image || !boot.session || config === undefined || cmdline === undefined) {
      return undefined;
    }
    const texts = { 'config.txt': innerConfigTxt(config), 'cmdline.txt': cmdline };
    const ramdisk: Ramdisk = { image: boot.image, session: boot.session, texts };
    if (name === 'boot.img') {
      return await this.#image(ramdisk);
    }
    const { key } = this.#options;
    return key && (await this.#signature(ramdisk, key));
  }

  #image(ramdisk: Ramdisk): Promise<string> {
    const { id } = ramdisk.session;
    return keep(this.#files, id, maxImages, async () => {
      const folder = this.#newPath(id);
      const file = `${folder}.img`;
      await mkdir(folder, { recursive: true });
      try {
        for (const [name, text] of Object.entries(ramdisk.texts)) {
          await writeFile(join(folder, name), text, 'latin1');
        }
        const partial = join(folder, 'boot.img');
        await copyFile(await this.#template(ramdisk.image), partial, fileConstants.COPYFILE_FICLONE);
        await putIntoFatImage(
          partial,
          Object.keys(ramdisk.texts).map((name) => join(folder, name)),
        );
        await rename(partial, file);
        return file;
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });
  }

  #template(image: Image): Promise<string> {
    const { directory, pathOf } = this.#options;
    return keep(this.#templates, image.digest, maxTemplates, async () => {
      await mkdir(directory, { recursive: true });
      const file = this.#newPath(image.digest);
      const facts = {
        file,
        bytes: ramdiskBytes(image.files),
        clusterBytes,
        label: 'BOOT',
        volumeId: image.digest.slice(0, 8),
        files: ramdiskFiles(image.files).map((entry) => ({ source: pathOf(image, entry.file), path: entry.path })),
      };
      try {
        await makeFatImage(facts);
      } catch (error) {
        await rm(file, { force: true });
        throw error;
      }
      return file;
    });
  }

  #signature(ramdisk: Ramdisk, key: KeyObject): Promise<string> {
    const { id, startedAt } = ramdisk.session;
    return keep(this.#signatures, id, maxImages, async () => {
      const image = await this.#image(ramdisk);
      const hash = createHash('sha256');
      const sign = createSign('sha256');
      for await (const chunk of createReadStream(image)) {
        hash.update(chunk);
        sign.update(chunk);
      }
      // The time of the boot, not of the request: all reads of a boot see the same bytes.
      const text = encodeBootSignature({ sha256: hash.digest(), seconds: startedAt / 1000, rsa2048: sign.sign(key) });
      const file = `${this.#newPath(id)}.sig`;
      await writeFile(file, text);
      return file;
    });
  }

  #newPath(name: string): string {
    this.#made += 1;
    return join(this.#options.directory, `${name}-${this.#made}`);
  }
}

export async function sizeOf(file: string): Promise<number> {
  return (await stat(file)).size;
}

/** Makes a file once, however many ask for it at the same time. A failure is not kept. */
function keep(files: Map<string, Promise<string>>, key: string, max: number, make: () => Promise<string>): Promise<string> {
  const file = files.get(key) ?? make();
  files.delete(key);
  files.set(key, file);
  file.catch(() => {
    if (files.get(key) === file) {
      files.delete(key);
    }
  });
  for (const [oldest, old] of files) {
    if (files.size <= max) {
      break;
    }
    files.delete(oldest);
    void old.then((path) => rm(path, { force: true })).catch(() => {});
  }
  return file;
}
