import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findOldTrees, keepTree, partsFile, removeOldTrees, type TreeParts, takeTree } from '#src/images/kept-trees.ts';

const facts = { kernelVersion: '6.12', rootFormat: 'erofs' } as const;
const { signal } = new AbortController();
const now = new Date();
const daysAgo = (days: number): Date => new Date(now.getTime() - days * 86_400_000);

const newCache = async (): Promise<string> => await mkdtemp(join(tmpdir(), 'cardless-trees-'));
const names = async (cache: string): Promise<string[]> => (await readdir(join(cache, 'trees'))).toSorted();

/** A finished tree whose every file says which one it is. */
async function finished(content: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'cardless-finished-'));
  await mkdir(join(folder, 'modules'));
  await Promise.all(['root.img', 'modules/a.ko'].map((file) => writeFile(join(folder, file), content)));
  await writeFile(join(folder, partsFile), JSON.stringify(facts));
  return folder;
}

async function keep(cache: string, name: string, content: string): Promise<TreeParts> {
  return await keepTree(await finished(content), facts, { cache, name, signal });
}

/** Nobody has used it since. */
async function placeUnused(cache: string, name: string, days: number): Promise<void> {
  await using tree = await keep(cache, name, name);
  await utimes(join(tree.directory, partsFile), daysAgo(days), daysAgo(days));
}

const contentOf = async (tree: TreeParts): Promise<string[]> =>
  await Promise.all(['root.img', 'modules/a.ko'].map((file) => readFile(join(tree.directory, file), 'utf8')));

describe('built trees in the cache', () => {
  test('one that was kept is found again, and one that is not whole is none', async () => {
    const cache = await newCache();
    expect(await takeTree({ cache, name: 'a', now, signal })).toBeUndefined();
    await using made = await keep(cache, 'a', 'first');
    await using found = await takeTree({ cache, name: 'a', now, signal });
    expect(found).toMatchObject({ ...facts, directory: made.directory });
    await rm(join(made.directory, partsFile));
    expect(await takeTree({ cache, name: 'a', now, signal })).toBeUndefined();
  });

  test('what no build used for 30 days goes; the last use counts, not the age', async () => {
    const cache = await newCache();
    for (const [name, days] of [
      ['old', 31],
      ['young', 29],
      ['used', 300],
    ] as const) {
      await placeUnused(cache, name, days);
    }
    await mkdir(join(cache, 'trees/copy-cut-short'));
    await utimes(join(cache, 'trees/copy-cut-short'), daysAgo(31), daysAgo(31));
    await (await takeTree({ cache, name: 'used', now, signal }))?.[Symbol.asyncDispose]();
    const expected = [
      { name: 'copy-cut-short', bytes: 0, usedAt: daysAgo(31) },
      { name: 'old', bytes: 'old'.length * 2 + JSON.stringify(facts).length, usedAt: daysAgo(31) },
    ];
    expect(await findOldTrees(cache, now)).toEqual(expected);
    expect(await names(cache)).toEqual(['copy-cut-short', 'old', 'used', 'young']);
    expect(await removeOldTrees(cache, now)).toEqual(expected);
    expect(await names(cache)).toEqual(['used', 'young']);
    expect(await removeOldTrees(await newCache(), now)).toEqual([]);
  });

  test('a plain file among them, however old, is left where it is and keeps nothing from going', async () => {
    const cache = await newCache();
    await placeUnused(cache, 'old', 31);
    const file = join(cache, 'trees/notes');
    await writeFile(file, 'of somebody else');
    await utimes(file, daysAgo(300), daysAgo(300));
    expect((await findOldTrees(cache, now)).map(({ name }) => name)).toEqual(['old']);
    expect((await removeOldTrees(cache, now)).map(({ name }) => name)).toEqual(['old']);
    expect(await names(cache)).toEqual(['notes']);
  });

  test('one that a build works with stays, however long that takes', async () => {
    const cache = await newCache();
    await placeUnused(cache, 'a', 1);
    const inUse = await takeTree({ cache, name: 'a', now: daysAgo(40), signal });
    expect(inUse).toBeDefined();
    expect(await removeOldTrees(cache, now)).toEqual([]);
    expect(await names(cache)).toEqual(['a']);
    await inUse?.[Symbol.asyncDispose]();
    expect(await removeOldTrees(cache, now)).toMatchObject([{ name: 'a' }]);
  });

  test('a newer one takes its place only when nobody works with it any more', async () => {
    const cache = await newCache();
    const first = await keep(cache, 'a', 'first');
    const second = await takeTree({ cache, name: 'a', now, signal });
    const replacing = keep(cache, 'a', 'newer');
    await first[Symbol.asyncDispose]();
    // Room for it to do the wrong thing.
    await names(cache);
    expect(second && (await contentOf(second))).toEqual(['first', 'first']);
    await second?.[Symbol.asyncDispose]();
    await using newer = await replacing;
    expect(await contentOf(newer)).toEqual(['newer', 'newer']);
    expect(await names(cache)).toEqual(['a']);
  });

  test('of builds that finish at once one stays, whole, and each can work with what it got', async () => {
    const cache = await newCache();
    const build = async (content: string): Promise<void> => {
      await using tree = await keep(cache, 'a', content);
      expect(await contentOf(tree)).toEqual([content, content]);
    };
    await Promise.all(['one', 'two', 'three', 'four'].map(build));
    await using last = await takeTree({ cache, name: 'a', now, signal });
    const [content] = last ? await contentOf(last) : [];
    expect(last && (await contentOf(last))).toEqual([content, content]);
    expect(await names(cache)).toEqual(['a']);
  });

  test('a cache on another disk gets a copy, and nothing half-made is left', async () => {
    // /dev/shm is a file system of its own.
    const cache = await mkdtemp('/dev/shm/cardless-trees-');
    try {
      await using tree = await keep(cache, 'a', 'copied');
      expect(await contentOf(tree)).toEqual(['copied', 'copied']);
      expect(await names(cache)).toEqual(['a']);
    } finally {
      await rm(cache, { recursive: true });
    }
  });
});
