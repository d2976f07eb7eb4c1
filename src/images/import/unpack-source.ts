/** From any kind of source to a tree, and the files of its FAT boot partition. */
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { UserError } from '../../domain/errors.ts';
import type { Architecture } from '../../domain/image.ts';
import { removeTree } from '../../process/remove-tree.ts';
import { run } from '../../process/run.ts';
import { type OnProgress, section } from '../progress.ts';
import { readHead } from '../tree-access.ts';
import { bytesText } from './bytes-text.ts';
import { unpackConfined } from './confined-tar.ts';
import { decompress, requireSpace } from './decompress.ts';
import { type DiskPartition, unpackDisk } from './disk-image.ts';
import { isUrl, type Obtained } from './obtain.ts';
import { isContainerImage, unpackContainerImage } from './oci.ts';
import { type Compression, sniff, sniffBytes } from './sniff.ts';

export interface UnpackOptions {
  readonly arch: Architecture | undefined;
  readonly work: string;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

export interface Unpacked {
  readonly tree: string;
  readonly fat: string | undefined;
  /** For the report, for example "disk image (xz)". */
  readonly kind: string;
  readonly notes: readonly string[];
}

/** The name of a source without its folders. */
export function sourceName(source: string): string {
  return isUrl(source) ? (new URL(source).pathname.split('/').at(-1) ?? source) : basename(source);
}

/** @throws UserError */
export async function unpackSource(source: Obtained, options: UnpackOptions): Promise<Unpacked> {
  const { work, onProgress } = options;
  const tree = join(work, 'tree');
  await mkdir(tree);
  if (source.isDirectory) {
    return await unpackDirectory(source.path, tree, options);
  }
  const plain = await plainFile(source, { ...options, onProgress: section(onProgress, 0, 0.5) });
  const packed = plain.by === undefined ? '' : ` (${plain.by})`;
  const kind = sniff(await readHead(plain.path, sniffBytes));
  const later = { ...options, onProgress: section(onProgress, 0.5, 1) };
  switch (kind.kind) {
    case 'tar':
      return await unpackTar(plain, tree, packed, later);
    case 'disk':
    case 'file-system':
      return await unpackCard(plain, tree, packed, later);
    case 'compressed':
      throw new UserError('bad-input', `${sourceName(source.path)} is compressed twice`, {
        hint: 'Unpack it yourself and import the result',
      });
    case 'unknown':
      throw new UserError('bad-input', `${source.path} is no disk image, tar or container image; it looks like ${kind.looksLike}`, {
        hint: 'Possible are .img and .tar, plain or packed with xz, gzip, zstd or bzip2, a directory, an OCI layout, and docker save',
      });
    default:
      return kind satisfies never;
  }
}

type Plain = Pick<Obtained, 'path' | 'isOurs'> & { readonly by: Compression | undefined };

async function plainFile(source: Obtained, { work, signal, onProgress }: UnpackOptions): Promise<Plain> {
  const kind = sniff(await readHead(source.path, sniffBytes));
  if (kind.kind !== 'compressed') {
    return { ...source, by: undefined };
  }
  const output = join(work, 'unpacked');
  const report = (fraction: number, bytes: number): void => onProgress({ phase: `decompressing, ${bytesText(bytes)}`, fraction });
  await decompress({ input: source.path, output, by: kind.by, signal, onProgress: report });
  if (source.isOurs) {
    await rm(source.path);
  }
  return { path: output, isOurs: true, by: kind.by };
}

async function unpackDirectory(path: string, tree: string, options: UnpackOptions): Promise<Unpacked> {
  const { work, signal, onProgress } = options;
  if (await isContainerImage(path)) {
    return { tree, fat: undefined, kind: 'container image', ...(await unpackContainerImage({ ...options, directory: path, tree })) };
  }
  if (`${work}/`.startsWith(path === '/' ? '/' : `${path}/`)) {
    throw new UserError('bad-input', `${path} holds the state of this server`, { hint: 'Copy that system to a place of its own first' });
  }
  const onBytes = (bytes: number): void => onProgress({ phase: `copying, ${bytesText(bytes)}`, fraction: 0.5 });
  await unpackConfined({ kind: 'directory', prepare: 'mnt="$1"', args: [path], oneFileSystem: true }, { work, tree, signal, onBytes });
  return { tree, fat: undefined, kind: 'directory', notes: [] };
}

async function unpackTar(plain: Plain, tree: string, packed: string, options: UnpackOptions): Promise<Unpacked> {
  const { work, signal, onProgress } = options;
  const total = await requireWholeTar(plain.path);
  await requireSpace(total, work, 'The archive');
  const report = section(onProgress, 0, 0.6);
  const onBytes = (bytes: number): void =>
    report({ phase: `unpacking, ${bytesText(bytes)} of ${bytesText(total)}`, fraction: bytes / total });
  await unpackConfined({ kind: 'archive', file: plain.path }, { work, tree, signal, onBytes });
  if (plain.isOurs) {
    await rm(plain.path);
  }
  if (!(await isContainerImage(tree))) {
    return { tree, fat: undefined, kind: `tar${packed}`, notes: [] };
  }
  const directory = join(work, 'layout');
  await rename(tree, directory);
  await mkdir(tree);
  const later = { ...options, directory, tree, onProgress: section(onProgress, 0.6, 1) };
  const { notes } = await unpackContainerImage(later);
  await removeTree(directory);
  return { tree, fat: undefined, kind: `container image in a tar${packed}`, notes };
}

/** POSIX: two blocks of zeros end it. tar itself takes one that was cut between two files for a whole one. */
async function requireWholeTar(path: string): Promise<number> {
  await using file = await open(path, 'r');
  const { size } = await file.stat();
  const end = Buffer.alloc(1024, 1);
  await file.read(end, 0, end.length, Math.max(0, size - end.length));
  if (end.some((byte) => byte !== 0)) {
    throw new UserError('bad-input', `${path} is damaged or cut short: the mark at the end of the archive is missing`, {
      hint: 'Fetch it again',
    });
  }
  return size;
}

async function unpackCard(plain: Plain, tree: string, packed: string, options: UnpackOptions): Promise<Unpacked> {
  const { work, signal, onProgress } = options;
  const report = (fraction: number, bytes: number): void => onProgress({ phase: `copying the root, ${bytesText(bytes)}`, fraction });
  const disk = await unpackDisk({ file: plain.path, isOurs: plain.isOurs, work, tree, signal, onProgress: report });
  const fat = disk.fat && (await unpackFat(disk.file, disk.fat, work, signal));
  if (disk.file.startsWith(`${work}/`)) {
    await rm(disk.file);
  }
  return { tree, fat, kind: `disk image${packed}`, notes: disk.notes };
}

/**
 * By mtools: not every kernel can mount FAT. Only plain names, taken from its listing, are copied, so that no name leads
 * anywhere else; and of its folders only the one with overlays is looked into, for they may lead to one another.
 */
async function unpackFat(file: string, { startBytes, bytes }: DiskPartition, work: string, signal: AbortSignal): Promise<string> {
  const target = join(work, 'fat');
  const image = `${file}@@${startBytes}`;
  const options = { signal, env: { MTOOLSRC: '/dev/null', MTOOLS_SKIP_CHECK: '1', TZ: 'UTC' } };
  const list = async (folder: string): Promise<string[]> =>
    (await run('mdir', ['-b', '-i', image, `::${folder}`], options)).split('\n').map((line) => line.slice(`::${folder}/`.length));
  const copy = async (folder: string, names: readonly string[]): Promise<void> => {
    const files = names.filter((name) => /^[\w.+-]+$/.test(name)).map((name) => `::${folder}/${name}`);
    await mkdir(join(target, folder), { recursive: true });
    if (files.length > 0) {
      await run('mcopy', ['-n', '-i', image, ...files, join(target, folder)], options);
    }
  };
  // Files can share their clusters, and so have more bytes together than the partition.
  const requireTrueSizes = async (folder: string): Promise<void> => {
    const total = /^ +\d+ files? +([\d ]+) bytes$/m.exec(await run('mdir', ['-a', '-i', image, `::${folder}/`], options))?.[1];
    const claimed = Number(total?.replaceAll(' ', '') ?? 0);
    if (claimed > bytes) {
      throw new UserError('bad-input', `The files of the boot partition claim ${bytesText(claimed)}, and it has ${bytesText(bytes)}`, {
        hint: 'The image may be damaged; fetch it again, and give its checksum with --sha256',
      });
    }
    await requireSpace(claimed, work, 'The boot partition');
  };
  await requireTrueSizes('');
  const names = await list('');
  await copy('', names);
  if (names.includes('overlays/')) {
    await requireTrueSizes('/overlays');
    await copy('/overlays', await list('/overlays'));
  }
  return target;
}
