/** Reads and changes a tree that came from outside: its links are followed as if the tree were the root, and never out of it. */
import type { Stats } from 'node:fs';
import { chmod, copyFile, lstat, mkdir, open, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCode, UserError } from '../domain/errors.ts';

export interface TreeView {
  /** Names in a directory, sorted; none where there is no directory. */
  list(path: string): Promise<string[]>;
  /** Of a regular file; undefined where there is none. */
  read(path: string): Promise<string | undefined>;
  /** Anything at all has this name, also a link that leads nowhere. */
  has(path: string): Promise<boolean>;
}

export interface TreeAccess extends TreeView {
  readonly root: string;
  /** Where a path leads, on this machine; undefined where nothing is. */
  resolve(path: string): Promise<string | undefined>;
  head(path: string, bytes: number): Promise<Buffer | undefined>;
  remove(path: string): Promise<void>;
  write(path: string, content: string, mode: number): Promise<void>;
  link(path: string, target: string): Promise<void>;
}

const maxLinks = 40;
const maxTextBytes = 4 * 1024 ** 2;

export function openTree(root: string): TreeAccess {
  const resolve = (path: string): Promise<string | undefined> => resolveWithin(root, path);
  const place = async (path: string): Promise<string> => {
    const directory = await makeDirectory(root, dirname(path));
    const target = join(directory, path.slice(path.lastIndexOf('/') + 1));
    await rm(target, { recursive: true, force: true });
    return target;
  };
  const regular = async (path: string): Promise<{ real: string; stats: Stats } | undefined> => {
    const real = await resolve(path);
    const stats = real === undefined ? undefined : await lstat(real);
    // Anything else could block whoever opens it, or be a disk of this machine.
    return real !== undefined && stats?.isFile() ? { real, stats } : undefined;
  };
  return {
    root,
    resolve,
    list: async (path) => {
      const real = await resolve(path);
      return real !== undefined && (await lstat(real)).isDirectory() ? (await readdir(real)).toSorted() : [];
    },
    read: async (path) => {
      const file = await regular(path);
      if (file && file.stats.size > maxTextBytes) {
        throw new UserError('bad-input', `/${path} in it has ${file.stats.size} bytes: no such file is so long`);
      }
      return file && (await readFile(file.real, 'utf8'));
    },
    head: async (path, bytes) => {
      const file = await regular(path);
      return file && (await readHead(file.real, bytes));
    },
    has: async (path) => {
      const parent = await resolve(dirname(path));
      return parent !== undefined && (await lstatIfThere(join(parent, path.slice(path.lastIndexOf('/') + 1)))) !== undefined;
    },
    remove: async (path) => {
      const parent = await resolve(dirname(path));
      if (parent !== undefined) {
        await rm(join(parent, path.slice(path.lastIndexOf('/') + 1)), { recursive: true, force: true });
      }
    },
    write: async (path, content, mode) => await writeFile(await place(path), content, { mode, flag: 'wx' }),
    link: async (path, target) => await symlink(target, await place(path)),
  };
}

export async function readHead(file: string, bytes: number): Promise<Buffer> {
  await using handle = await open(file, 'r');
  const { size } = await handle.stat();
  const buffer = Buffer.alloc(Math.min(bytes, size));
  let filled = 0;
  for (let read = 1; read > 0 && filled < buffer.length; filled += read) {
    read = (await handle.read(buffer, filled, buffer.length - filled, filled)).bytesRead;
  }
  return buffer.subarray(0, filled);
}

/** False, and nothing is made, where it is anything but a regular file itself. */
export async function copyPlainFile(from: string, to: string): Promise<boolean> {
  const isPlain = (await lstat(from)).isFile();
  if (isPlain) {
    await copyFile(from, to);
    await chmod(to, 0o644);
  }
  return isPlain;
}

/** As the kernel walks a path in a chroot. */
async function resolveWithin(root: string, path: string): Promise<string | undefined> {
  let inside: string[] = [];
  let links = 0;
  const left = path.split('/');
  for (let part = left.shift(); part !== undefined; part = left.shift()) {
    if (part === '' || part === '.') {
      continue;
    }
    if (part === '..') {
      inside = inside.slice(0, -1);
      continue;
    }
    const stats = await lstatIfThere(join(root, ...inside, part));
    if (!stats) {
      return undefined;
    }
    if (!stats.isSymbolicLink()) {
      inside.push(part);
      continue;
    }
    links += 1;
    if (links > maxLinks) {
      return undefined;
    }
    const target = await readlink(join(root, ...inside, part));
    inside = target.startsWith('/') ? [] : inside;
    left.unshift(...target.split('/'));
  }
  return join(root, ...inside);
}

/** mkdir -p within the tree. @throws UserError where a part of it is no directory */
async function makeDirectory(root: string, path: string): Promise<string> {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  for (let depth = 1; depth <= parts.length; depth += 1) {
    const partial = parts.slice(0, depth).join('/');
    if ((await resolveWithin(root, partial)) === undefined) {
      const parent = await resolveWithin(root, parts.slice(0, depth - 1).join('/'));
      // A link that leads nowhere is in the way: the kernel would not make what it names either.
      await mkdir(join(parent ?? root, parts[depth - 1] ?? ''));
    }
  }
  const real = await resolveWithin(root, path);
  if (real === undefined || !(await lstat(real)).isDirectory()) {
    throw new UserError('bad-input', `/${path} in it is no directory`);
  }
  return real;
}

/** Of a name itself; undefined where nothing has it. */
export async function lstatIfThere(path: string): Promise<Stats | undefined> {
  return await lstat(path).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) {
      return undefined;
    }
    throw error;
  });
}
