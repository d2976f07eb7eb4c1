/** What a tree is, for comparing two: content, type, mode, owner, device numbers, extended attributes, hard links. */
import { createHash } from 'node:crypto';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ran } from './lab-server.ts';

/** A line for each path; times are left out, which an image does not keep. */
export async function treeManifest(root: string): Promise<Map<string, string>> {
  const xattrs = await xattrsBelow(root);
  const manifest = new Map<string, string>();
  const links = new Map<string, string[]>();
  const entries = (await readdir(root, { recursive: true, withFileTypes: true })).map((entry) => join(entry.parentPath, entry.name));
  for (const file of [root, ...entries.toSorted()]) {
    const stats = await lstat(file);
    const path = file.slice(root.length) || '/';
    const content = stats.isFile()
      ? createHash('sha256')
          .update(await readFile(file))
          .digest('hex')
      : stats.isSymbolicLink()
        ? await readlink(file)
        : stats.rdev;
    manifest.set(path, [stats.mode.toString(8), stats.uid, stats.gid, content, xattrs.get(file) ?? ''].join(' '));
    if (!stats.isDirectory() && stats.nlink > 1) {
      const key = `${stats.dev}:${stats.ino}`;
      links.set(key, [...(links.get(key) ?? []), path]);
    }
  }
  for (const paths of links.values()) {
    for (const path of paths) {
      manifest.set(path, `${manifest.get(path)} links ${paths.join(',')}`);
    }
  }
  return manifest;
}

async function xattrsBelow(root: string): Promise<Map<string, string>> {
  const { stdout } = await ran('getfattr', ['-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '--absolute-names', '--', root]);
  const blocks = stdout.split('\n\n').filter((block) => block.trim() !== '');
  return new Map(
    blocks.map((block) => {
      const [head = '', ...values] = block.trim().split('\n');
      return [head.slice('# file: '.length), values.toSorted().join(';')];
    }),
  );
}
