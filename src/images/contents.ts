/**
 * Lists of what is in images. They are made from root.img when they are first asked for and kept in the cache, so images of
 * any age have one, nothing of it is in their digest, and the kernel of this machine need not know their file system.
 */
import { access, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { UserError } from '../domain/errors.ts';
import type { Image, ImageDigest } from '../domain/image.ts';
import type { ContentEntry, ImageDiff } from '../domain/image-contents.ts';
import { removeTree } from '../process/remove-tree.ts';
import { renameDurably } from '../process/rename-durably.ts';
import { containedCommand, run } from '../process/run.ts';
import type { ImageCatalog } from './catalog.ts';
import { type ContentsSummary, inThread, type ListWithBoot } from './image-tasks.ts';
import type { OnProgress } from './progress.ts';

/** Raise when lists get another form. */
const formatVersion = 1;

export interface ContentsOptions {
  readonly images: Pick<ImageCatalog, 'pathOf'>;
  readonly cache: string;
  /** For the unpacked root. */
  readonly work: string;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

/** The file that holds the list of an image's root. @throws UserError failed, no-space, cancelled */
export async function ensureContents(image: Image, options: ContentsOptions): Promise<string> {
  const { cache, work, signal, onProgress } = options;
  const list = listOf(cache, image.digest);
  const isThere = await access(list).then(
    () => true,
    () => false,
  );
  if (isThere) {
    return list;
  }
  const rootImage = options.images.pathOf(image.digest, 'root.img');
  await Promise.all([mkdir(work, { recursive: true }), mkdir(join(cache, 'contents'), { recursive: true })]);
  const directory = await mkdtemp(join(work, 'contents-'));
  try {
    onProgress({ phase: `unpacking ${image.name} ${image.digest.slice(0, 12)}`, fraction: 0 });
    const tree = join(directory, 'tree');
    const [file, args] = containedCommand(...unpackCommand(image, rootImage, tree));
    await run(file, args, { signal });
    onProgress({ phase: `listing ${image.name} ${image.digest.slice(0, 12)}`, fraction: 0.4 });
    const partial = join(cache, 'contents', `.${basename(directory)}.partial`);
    await inThread('gather', { tree, output: partial }, { signal });
    await renameDurably(partial, list);
    onProgress({ phase: `listed ${image.name} ${image.digest.slice(0, 12)}`, fraction: 1 });
    return list;
  } finally {
    await removeTree(directory);
  }
}

function unpackCommand(image: Image, rootImage: string, tree: string): [string, readonly string[]] {
  switch (image.rootFormat) {
    case 'erofs':
      return ['fsck.erofs', [`--extract=${tree}`, '--preserve', rootImage]];
    case 'squashfs':
      return ['unsquashfs', ['-no-progress', '-quiet', '-dest', tree, rootImage]];
    default:
      image.rootFormat satisfies never;
      throw new UserError('failed', `The root of ${image.digest} has an unknown format`);
  }
}

export async function summarize(list: string): Promise<ContentsSummary> {
  return await inThread('summary', { list });
}

/** The list of the root that was made earlier, if it was. */
export async function knownSummary(cache: string, digest: ImageDigest): Promise<ContentsSummary | undefined> {
  const list = listOf(cache, digest);
  return await access(list).then(
    () => summarize(list),
    () => undefined,
  );
}

export async function diffImages(from: ListedImage, to: ListedImage, signal: AbortSignal): Promise<ImageDiff> {
  return await inThread('diff', { from: withBoot(from), to: withBoot(to) }, { signal });
}

export interface ListedImage {
  readonly image: Image;
  readonly list: string;
}

function withBoot({ image, list }: ListedImage): ListWithBoot {
  const boot = image.files
    .filter(({ path }) => path !== 'root.img')
    .map((file): ContentEntry => ({ ...file, type: 'file', mode: 0, uid: 0, gid: 0 }));
  return { list, boot };
}

/** The image is gone. */
export async function forgetContents(cache: string, digest: ImageDigest): Promise<void> {
  await rm(listOf(cache, digest), { force: true });
}

function listOf(cache: string, digest: ImageDigest): string {
  return join(cache, 'contents', `${digest}.${formatVersion}.json.zst`);
}
