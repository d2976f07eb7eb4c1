/** Images with a real root file system of a few files, made in a moment. */
import { chmod, mkdir, mkdtemp, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { type Architecture, type Image, type ImageDigest, parseImageName } from '#src/domain/image.ts';
import { manifestDigest, publishImage } from '#src/images/publish.ts';

export interface SmallImage {
  readonly state: string;
  readonly name?: string;
  readonly arch?: Architecture;
  /** By path in the root; `0755 text` gives another mode. */
  readonly root: Readonly<Record<string, string>>;
  readonly boot?: Readonly<Record<string, string | Buffer>>;
  readonly format?: 'erofs' | 'squashfs';
  readonly createdAt: Date;
}

export async function publishSmallImage(image: SmallImage): Promise<Image> {
  const draft = await mkdtemp(join(tmpdir(), 'cardless-draft-'));
  const tree = await mkdtemp(join(tmpdir(), 'cardless-tree-'));
  for (const [path, text] of Object.entries(image.root)) {
    const [, mode, content] = /^(0[0-7]{3}) (.*)$/s.exec(text) ?? [undefined, '0644', text];
    await writeInto(tree, path, content ?? '');
    await chmod(join(tree, path), Number.parseInt(mode ?? '0644', 8));
  }
  for (const [path, bytes] of Object.entries({ 'kernel8.img': 'kernel', 'initramfs.img': 'initramfs', ...image.boot })) {
    await writeInto(join(draft, 'boot'), path, bytes);
  }
  const output = join(draft, 'root.img');
  const rootFormat = image.format ?? 'erofs';
  await (rootFormat === 'erofs'
    ? execa('mkfs.erofs', ['-T0', '-U00000000-0000-0000-0000-000000000000', output, tree])
    : execa('mksquashfs', [tree, output, '-no-progress', '-quiet', '-all-time', '0', '-mkfs-time', '0']));
  await rm(tree, { recursive: true });
  const facts = {
    name: parseImageName(image.name ?? 'debian-13'),
    arch: image.arch ?? 'arm64',
    kernelVersion: '6.12',
    rootFormat,
  } as const;
  return await publishImage(draft, facts, join(image.state, 'images'), image.createdAt);
}

async function writeInto(directory: string, path: string, content: string | Buffer): Promise<void> {
  await mkdir(dirname(join(directory, path)), { recursive: true });
  await writeFile(join(directory, path), content);
}

/** An image whose root takes minutes to read and no space; what its manifest says of it is wrong. */
export async function placeEndlessImage(state: string, gibibytes: number): Promise<ImageDigest> {
  const bytes = gibibytes * 2 ** 30;
  const files = [{ path: 'root.img', bytes, sha256: '0'.repeat(64) }];
  const facts = { name: parseImageName('endless'), arch: 'arm64', kernelVersion: '6.12', rootFormat: 'erofs', files };
  const digest = manifestDigest(facts);
  const draft = await mkdtemp(join(tmpdir(), 'cardless-draft-'));
  await writeFile(join(draft, 'root.img'), '');
  await truncate(join(draft, 'root.img'), bytes);
  await writeFile(join(draft, 'manifest.json'), JSON.stringify({ ...facts, digest, createdAt: new Date(0).toISOString() }));
  await mkdir(join(state, 'images'), { recursive: true });
  await rename(draft, join(state, 'images', digest));
  return digest;
}
