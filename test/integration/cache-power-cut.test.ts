/** What is in the cache is taken for whole by everybody who finds it, so a power cut must not leave a part of it there. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { ImageCatalog } from '#src/images/catalog.ts';
import { ensureContents } from '#src/images/contents.ts';
import { buildInitramfs } from '#src/images/initramfs.ts';
import { keepTree, partsFile } from '#src/images/kept-trees.ts';
import { syncPath } from '#src/process/sync-path.ts';
import { digestOf } from '../support/importing.ts';
import { initramfsOptions } from '../support/initramfs-options.ts';
import { must, removeScratch, scratch, writeTree } from '../support/pi-card.ts';
import { publishSmallImage } from '../support/small-images.ts';

afterAll(removeScratch);

const { signal } = new AbortController();

/** Fills a cache on an ext4 of its own. @returns its files and their checksums: as they were, and as a power cut would leave them */
async function cutAfter(fill: (cache: string) => Promise<void>): Promise<{ before: Files; after: Files }> {
  const folder = await scratch('cut');
  const [disk, cut, cache] = [join(folder, 'disk'), join(folder, 'cut'), join(folder, 'cache')];
  await writeFile(disk, '');
  await must('truncate', '-s', '64M', disk);
  await must('mkfs.ext4', '-q', '-F', disk);
  const before = await mounted(disk, cache, async () => {
    await fill(cache);
    const files = await filesBelow(cache);
    // Puts all renames so far on the disk, and nothing of what is in other files.
    await writeFile(join(cache, 'other'), 'x');
    await syncPath(join(cache, 'other'));
    await must('cp', '--sparse=always', disk, cut);
    return files;
  });
  const after = await mounted(cut, cache, () => filesBelow(cache));
  after.delete('other');
  return { before, after };
}

type Files = Map<string, string>;

async function mounted<T>(disk: string, at: string, work: () => Promise<T>): Promise<T> {
  await mkdir(at, { recursive: true });
  // Without it ext4 guesses which files are to be written out early; other file systems do not.
  await must('mount', '-o', 'loop,noauto_da_alloc', disk, at);
  try {
    return await work();
  } finally {
    await must('umount', at);
  }
}

async function filesBelow(directory: string): Promise<Files> {
  const entries = (await readdir(directory, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const paths = entries.map((entry) => join(entry.parentPath, entry.name));
  const contents = paths.map(async (path) => [path.slice(directory.length + 1), await digestOf(path)] as const);
  return new Map(await Promise.all(contents));
}

const facts = { kernelVersion: '6.12', rootFormat: 'erofs' } as const;

async function fillTree(folder: string): Promise<string> {
  await writeTree(folder, { 'root.img': 'r'.repeat(100_000), 'modules/a.ko': 'm'.repeat(5000), [partsFile]: JSON.stringify(facts) });
  return folder;
}

test.each(['the same disk', 'another disk'])('a built tree that came from %s', async (from) => {
  const { before, after } = await cutAfter(async (cache) => {
    const finished = await fillTree(from === 'the same disk' ? join(cache, 'finished') : await scratch('finished'));
    await using _tree = await keepTree(finished, facts, { cache, name: 'a', signal });
  });
  expect([...before.keys()].toSorted()).toEqual(['trees/a/modules/a.ko', 'trees/a/parts.json', 'trees/a/root.img']);
  expect(after).toEqual(before);
});

test('an initramfs', async () => {
  const options = await initramfsOptions(await scratch('initramfs'), '6.12.0');
  const { before, after } = await cutAfter((cache) => buildInitramfs({ ...options, cache }));
  expect([...before.keys()]).toEqual([expect.stringMatching(/^initramfs\/[0-9a-f]{16}\.img$/)]);
  expect(after).toEqual(before);
});

test('the list of what is in an image', async () => {
  const state = await scratch('list');
  const image = await publishSmallImage({ state, root: { 'etc/hosts': 'x' }, createdAt: new Date(0) });
  const images = new ImageCatalog(join(state, 'images'));
  const { before, after } = await cutAfter(async (cache) => {
    await ensureContents(image, { images, cache, work: join(state, 'work'), signal, onProgress: () => {} });
  });
  expect([...before.keys()]).toEqual([expect.stringContaining(image.digest)]);
  expect(after).toEqual(before);
});
