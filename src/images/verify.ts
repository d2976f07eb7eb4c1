import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../domain/errors.ts';
import type { Image, ImageDigest } from '../domain/image.ts';
import { readManifest } from './catalog.ts';
import { inThread, type TaskOptions } from './image-tasks.ts';

export interface ImageProblem {
  readonly digest: ImageDigest;
  /** Absent when the manifest cannot be read. */
  readonly name?: string;
  /** Relative to the image's directory. */
  readonly file: string;
  readonly what: string;
}

const manifestFile = 'manifest.json';

/** Reads every byte of an image. Nothing of what was read earlier is relied on. */
export async function verifyImage(directory: string, digest: ImageDigest, options: TaskOptions): Promise<ImageProblem[]> {
  let image: Image;
  try {
    image = readManifest(await readFile(join(directory, manifestFile), 'utf8'), digest);
  } catch (error) {
    return [{ digest, file: manifestFile, what: messageOf(error) }];
  }
  const { name, files } = image;
  const results = await inThread('hash', { files: files.map(({ path }) => join(directory, path)) }, options);
  const damaged = files.flatMap((file, index) => {
    const result = results[index];
    const what = result === undefined ? 'was not read' : damage(file, result);
    return what === undefined ? [] : [{ digest, name, file: file.path, what }];
  });
  const known = new Set([manifestFile, ...files.map(({ path }) => path)]);
  const foreign = (await filesIn(directory)).filter((path) => !known.has(path));
  return [...damaged, ...foreign.map((path) => ({ digest, name, file: path, what: 'is not in the manifest' }))];
}

function damage(
  file: Image['files'][number],
  found: { readonly bytes: number; readonly sha256: string } | { readonly unreadable: string },
): string | undefined {
  if ('unreadable' in found) {
    return `cannot be read: ${found.unreadable}`;
  }
  if (found.bytes !== file.bytes) {
    return `has ${found.bytes} bytes instead of ${file.bytes}`;
  }
  return found.sha256 === file.sha256 ? undefined : `has another content than what was published (SHA-256 ${found.sha256})`;
}

async function filesIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1));
}
