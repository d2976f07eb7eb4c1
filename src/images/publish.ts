import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, mkdir, open, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Image, type ImageFile, parseImageDigest } from '../domain/image.ts';

export type ImageFacts = Pick<Image, 'name' | 'arch' | 'kernelVersion' | 'rootFormat' | 'dataVolume'>;

/**
 * Turns a finished directory into an image: digests, manifest, everything on disk, then one rename. Before the rename
 * nothing is visible, after it everything is there. Publishing the same content again changes its date and nothing else.
 */
export async function publishImage(directory: string, facts: ImageFacts, images: string, now: Date): Promise<Image> {
  const files = await describeFiles(directory);
  const digest = parseImageDigest(
    createHash('sha256')
      .update(JSON.stringify({ ...facts, files }))
      .digest('hex'),
  );
  const image: Image = { ...facts, digest, files, createdAt: now.toISOString() };
  await writeFile(join(directory, 'manifest.json'), `${JSON.stringify(image, undefined, 2)}\n`);
  await syncTree(directory);
  await mkdir(images, { recursive: true });
  const target = join(images, digest);
  if (await exists(target)) {
    // Built again it is the newest version again: only its manifest, which has the date, takes the old one's place.
    await rename(join(directory, 'manifest.json'), join(target, 'manifest.json'));
    await syncPath(target);
  } else {
    await rename(directory, target);
    await syncPath(images);
  }
  return image;
}

async function describeFiles(directory: string): Promise<ImageFile[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1));
  const files: ImageFile[] = [];
  for (const path of paths.toSorted()) {
    const file = join(directory, path);
    files.push({ path, bytes: (await stat(file)).size, sha256: await sha256File(file) });
  }
  return files;
}

export async function sha256File(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

async function syncTree(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    await syncPath(join(entry.parentPath, entry.name));
  }
  await syncPath(directory);
  await syncPath(dirname(directory));
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
