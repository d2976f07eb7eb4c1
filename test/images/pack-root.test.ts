import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packRoot } from '#src/images/pack-root.ts';

test('a squashfs is packed with what every kernel that has squashfs can unpack', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cardless-pack-'));
  const [tree, output] = [await mkdtemp(join(folder, 'tree-')), join(folder, 'root.img')];
  await writeFile(join(tree, 'file'), 'x'.repeat(10_000));
  const { signal } = new AbortController();
  expect(await packRoot({ tree, output, modules: [], identity: 'a', format: 'squashfs', signal })).toBe('squashfs');
  const superblock = await readFile(output);
  // Linux fs/squashfs/squashfs_fs.h: the magic, and in `compression` ZLIB_COMPRESSION.
  expect([superblock.toString('latin1', 0, 4), superblock.readUInt16LE(20)]).toEqual(['hsqs', 1]);
});
