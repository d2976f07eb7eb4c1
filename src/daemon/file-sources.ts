/** Where a board's files come from: one ordered list, the same for TFTP and HTTP. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import type { BootSession } from '../domain/boot-session.ts';
import { systemCode } from '../domain/errors.ts';
import type { Image } from '../domain/image.ts';
import { deviceTreeDirectory } from '../policy/render-config.ts';

const gunzip: (packed: Buffer) => Promise<Buffer> = promisify(zlib.gunzip);

const maxPlainKernels = 4;
/** RFC 1952 section 2.3.1. */
const gzipMagic = 0x1f8b;

export interface BootFiles {
  /** Rendered for this boot; undefined when nobody boots. */
  readonly text: (path: string) => string | undefined;
  readonly image: Image | undefined;
  readonly session: Pick<BootSession, 'id' | 'node' | 'startedAt'> | undefined;
}

export type SourceAnswer = { readonly found: Buffer } | { readonly pass: string };

export type FileSource = (path: string, boot: BootFiles) => Promise<SourceAnswer>;

export const perNodeText: FileSource = (path, boot) => {
  const text = boot.text(path);
  return Promise.resolve(text === undefined ? { pass: 'not a rendered file' } : { found: Buffer.from(text, 'latin1') });
};

/**
 * Only names that the manifest lists are opened, so no name that a client sends ever reaches the file system.
 * @param pathOf where a file of an image is
 */
export function imageFiles(pathOf: (image: Image, file: string) => string, cache: FileCache): FileSource {
  return async (path, boot) => {
    const file = boot.image?.files.find((entry) => entry.path === `boot/${withoutVendor(path)}`);
    if (!boot.image || !file) {
      return { pass: 'not in the image' };
    }
    return { found: await cache.read(pathOf(boot.image, file.path)) };
  };
}

/** U-Boot names a device tree with its vendor, `dtbs/broadcom/x.dtb`; images have them by their last name. */
function withoutVendor(path: string): string {
  return path.startsWith(`${deviceTreeDirectory}/`) ? path.slice(path.lastIndexOf('/') + 1) : path;
}

/** The plain form of a gzip'd kernel, for firmware that cannot unpack one. */
export function plainKernel(source: FileSource, packed: string, plain: string): FileSource {
  // BOUNDED: maxPlainKernels; the oldest is dropped.
  const unpacked = new Map<string, Promise<Buffer>>();
  return async (path, boot) => {
    if (path !== plain) {
      return { pass: 'not the plain kernel' };
    }
    const answer = await source(packed, boot);
    if (!('found' in answer)) {
      return answer;
    }
    if (answer.found.readUInt16BE(0) !== gzipMagic) {
      return answer;
    }
    const key = boot.image?.digest ?? '';
    const plainBytes = unpacked.get(key) ?? gunzip(answer.found);
    unpacked.delete(key);
    unpacked.set(key, plainBytes);
    const [oldest] = unpacked.keys();
    if (unpacked.size > maxPlainKernels && oldest !== undefined) {
      unpacked.delete(oldest);
    }
    return { found: await plainBytes };
  };
}

/** @param places the directories in which each program may be, in order */
export function bootAssets(places: Readonly<Record<string, readonly string[]>>, cache: FileCache): FileSource {
  return async (path) => {
    const directories = Object.hasOwn(places, path) ? places[path] : undefined;
    for (const directory of directories ?? []) {
      try {
        return { found: await cache.read(join(directory, path)) };
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') {
          throw error;
        }
      }
    }
    return { pass: directories === undefined ? 'not a boot asset' : 'boot asset is not there' };
  };
}

export async function readFromSources(sources: readonly FileSource[], path: string, boot: BootFiles): Promise<Buffer | undefined> {
  for (const source of sources) {
    const answer = await source(path, boot);
    if ('found' in answer) {
      return answer.found;
    }
  }
  return undefined;
}

/** Boot files in memory: lock-step transfers must never wait for a disk. Images never change, so nothing gets stale. */
export class FileCache {
  // BOUNDED: at most maxBytes; what was used longest ago is dropped.
  readonly #files = new Map<string, Buffer>();
  /** Of files that many boards ask for at once there is one copy, also while it is read. */
  readonly #underWay = new Map<string, Promise<Buffer>>();
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  async read(path: string): Promise<Buffer> {
    const bytes = this.#files.get(path) ?? (await this.#readOnce(path));
    const isNew = !this.#files.delete(path);
    this.#files.set(path, bytes);
    if (isNew) {
      this.#bytes += bytes.length;
      for (const [oldest, old] of this.#files) {
        if (this.#bytes <= this.#maxBytes || oldest === path) {
          break;
        }
        this.#files.delete(oldest);
        this.#bytes -= old.length;
      }
    }
    return bytes;
  }

  async #readOnce(path: string): Promise<Buffer> {
    const reading = this.#underWay.get(path) ?? readFile(path).finally(() => this.#underWay.delete(path));
    this.#underWay.set(path, reading);
    return await reading;
  }
}
