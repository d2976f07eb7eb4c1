import { createHash } from 'node:crypto';
import { access, mkdir, readdir, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UserError } from '../domain/errors.ts';
import { type Image, type ImageDigest, type ImageFile, type ImageLineage, parseImageDigest } from '../domain/image.ts';
import { syncPath } from '../process/sync-path.ts';
import { type HashResult, inThread } from './image-tasks.ts';

export type ImageFacts = Pick<
  Image,
  'name' | 'arch' | 'kernelVersion' | 'rootFormat' | 'kernels' | 'configTxt' | 'kernelArguments' | 'dataVolume'
>;

/**
 * Turns a finished directory into an image: digests, manifest, everything on disk, then one rename. Before the rename
 * nothing is visible, after it everything is there. Publishing the same content again changes its date, and mends what was
 * damaged on the disk.
 */
export async function publishImage(
  directory: string,
  facts: ImageFacts,
  images: string,
  now: Date,
  lineage: ImageLineage = {},
): Promise<Image> {
  const files = await describeFiles(directory);
  const digest = manifestDigest({ ...facts, files });
  const image: Image = { ...facts, digest, files, createdAt: now.toISOString(), ...lineage };
  await writeFile(join(directory, 'manifest.json'), `${JSON.stringify(image, undefined, 2)}\n`);
  await syncTree(directory);
  await mkdir(images, { recursive: true });
  const target = join(images, digest);
  if (await exists(target)) {
    // Each file takes the place of one with the same bytes. The manifest comes last: with its date it is the newest version.
    for (const { path } of [...files, { path: 'manifest.json' }]) {
      await mkdir(dirname(join(target, path)), { recursive: true });
      await rename(join(directory, path), join(target, path));
    }
    await syncTree(target);
  } else {
    await rename(directory, target);
    await syncPath(images);
  }
  return image;
}

const outsideOfDigest = new Set(['digest', 'createdAt', 'parent', 'message']);

/** Of a manifest as it was written: in its order, everything but the digest itself, the date and the lineage. */
export function manifestDigest(manifest: object): ImageDigest {
  const covered = Object.entries(manifest).filter(([key]) => !outsideOfDigest.has(key));
  return parseImageDigest(
    createHash('sha256')
      .update(JSON.stringify(Object.fromEntries(covered)))
      .digest('hex'),
  );
}

/** What is in a directory, in order of path. @throws UserError failed for what cannot be read */
export async function describeFiles(directory: string, signal?: AbortSignal): Promise<ImageFile[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .toSorted();
  const results = await inThread('hash', { files: paths.map((path) => join(directory, path)) }, signal ? { signal } : {});
  return paths.map((path, index) => ({ path, ...readable(join(directory, path), results[index]) }));
}

export async function sha256File(file: string): Promise<string> {
  const [result] = await inThread('hash', { files: [file] });
  return readable(file, result).sha256;
}

/** Of each file, in their order. @throws UserError failed for what cannot be read, cancelled */
export async function sha256Files(files: readonly string[], signal: AbortSignal): Promise<string[]> {
  const results = await inThread('hash', { files }, { signal });
  return files.map((file, index) => readable(file, results[index]).sha256);
}

function readable(file: string, result: HashResult | undefined): Exclude<HashResult, { unreadable: string }> {
  if (result === undefined || 'unreadable' in result) {
    throw new UserError('failed', `${file} cannot be read: ${result?.unreadable ?? 'no result'}`);
  }
  return result;
}

/** Everything in a directory is on the disk when this resolves. */
async function syncTree(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    await syncPath(join(entry.parentPath, entry.name));
  }
  await syncPath(directory);
  await syncPath(dirname(directory));
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
