import { mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { missingModules } from '#src/images/import/system.ts';
import { openTree, type TreeAccess } from '#src/images/tree-access.ts';

let outside: string;
let root: string;
let tree: TreeAccess;

beforeEach(() => {
  outside = mkdtempSync(join(tmpdir(), 'cardless-tree-'));
  root = join(outside, 'root');
  mkdirSync(join(root, 'etc'), { recursive: true });
  writeFileSync(join(outside, 'secret'), 'outer');
  writeFileSync(join(root, 'etc/file'), 'inner');
  tree = openTree(root);
});

describe('a tree from outside', () => {
  test.each([
    ['a link to an absolute path', '/etc/file'],
    ['a link that climbs above the root', '../../../../../etc/file'],
    ['a link beside it', 'etc/file'],
  ])('%s stays within', async (_, target) => {
    symlinkSync(target, join(root, 'way'));
    expect(await tree.resolve('way')).toBe(join(root, 'etc/file'));
    expect(await tree.read('way')).toBe('inner');
  });
  test.each(['secret', '../secret', 'way/secret'])('%s is not found', async (path) => {
    symlinkSync(outside, join(root, 'way'));
    expect(await tree.read(path)).toBeUndefined();
  });
  test('links in a circle lead nowhere', async () => {
    symlinkSync('b', join(root, 'a'));
    symlinkSync('a', join(root, 'b'));
    expect(await tree.resolve('a')).toBeUndefined();
    expect(await tree.has('a')).toBe(true);
  });
  test('a directory, a link to a device and what is not there are no files', async () => {
    symlinkSync('/dev/zero', join(root, 'zero'));
    expect(await Promise.all(['etc', 'zero', 'nothing', 'etc/file/x'].map((path) => tree.read(path)))).toEqual(Array(4).fill(undefined));
  });
  test('what is written takes the place of a link, and folders are made within', async () => {
    symlinkSync(join(outside, 'secret'), join(root, 'etc/link'));
    mkdirSync(join(root, outside), { recursive: true });
    symlinkSync(outside, join(root, 'etc/conf.d'));
    await tree.write('etc/link', 'new', 0o644);
    await tree.write('etc/conf.d/deep/x', 'new', 0o644);
    await tree.link('etc/conf.d/null', '/dev/null');
    await tree.remove('etc/conf.d/secret');
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('outer');
    expect(readdirSync(outside).toSorted()).toEqual(['root', 'secret']);
    expect(readFileSync(join(root, 'etc/link'), 'utf8')).toBe('new');
    expect(readdirSync(join(root, outside)).toSorted()).toEqual(['deep', 'null']);
  });
  test('a file where a folder is needed is an error that names it', async () => {
    await expect(tree.write('etc/file/x', 'new', 0o644)).rejects.toThrow('/etc/file in it is no directory');
  });
});

test.each([
  ['kernel/drivers/block/nbd.ko.xz:\nkernel/fs/overlayfs/overlay.ko:\n', []],
  ['kernel/fs/overlayfs/overlay.ko.zst:\n', ['nbd']],
  ['', ['nbd', 'overlay']],
])('modules %j: missing are %j', (lists, missing) => {
  expect(missingModules(lists)).toEqual(missing);
});
