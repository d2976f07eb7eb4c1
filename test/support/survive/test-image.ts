/** Images for the outage tests, made in seconds: the kernel of debian-13, our own initramfs, and busybox as the system. */
import { createHash, randomBytes } from 'node:crypto';
import { appendFile, chmod, copyFile, cp, mkdir, mkdtemp, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { findPlaces, projectRoot } from '#src/config/places.ts';
import { type Image, parseImageName } from '#src/domain/image.ts';
import { assembleImage, initramfsFile } from '#src/images/assemble.ts';
import { ImageCatalog } from '#src/images/catalog.ts';
import { packRoot } from '#src/images/pack-root.ts';
import { publishImage } from '#src/images/publish.ts';
import { realImages } from '../guests.ts';
import type { TestLab } from '../lab-server.ts';

const blobBytes = 4 * 2 ** 20;
const applets =
  'sh cat chroot cmp cp date dd dmesg grep kill ln ls md5sum mkdir mkfifo mount nc pivot_root ps readlink reboot sed sleep stat sync tail touch tr umount wc wget';

interface Parts {
  readonly work: string;
  readonly vmlinuz: string;
  readonly busybox: string;
  readonly modules: string;
  readonly kernelVersion: string;
  /** Debian's own root. */
  readonly root: string;
  readonly rootFormat: Image['rootFormat'];
}

/** What the published image has of its kernel. Its initramfs is of whichever checkout built it; these tests make theirs. */
async function debianParts(): Promise<Parts> {
  const image = await new ImageCatalog(realImages).newest(parseImageName('debian-13'), 'amd64');
  if (!image) {
    throw new Error('there is no amd64 image');
  }
  const work = await mkdtemp(join(tmpdir(), 'cardless-survive-'));
  const path = (name: string): string => join(realImages, image.digest, name);
  const mounted = join(work, 'root');
  const modules = join(work, 'modules');
  await Promise.all([mounted, join(work, 'cpio')].map((directory) => mkdir(directory)));
  await execa('mount', ['-o', 'loop,ro', path('root.img'), mounted]);
  try {
    await cp(join(mounted, 'usr/lib/modules', image.kernelVersion), modules, { recursive: true });
  } finally {
    await execa('umount', [mounted]);
  }
  const archive = execa('zstd', ['-dc', path('boot/initramfs.img')], { encoding: 'buffer' });
  await archive.pipe('cpio', ['-id', '--quiet', '-D', join(work, 'cpio')]);
  return {
    work,
    modules,
    vmlinuz: path('boot/vmlinuz'),
    busybox: join(work, 'cpio/bin/busybox'),
    kernelVersion: image.kernelVersion,
    root: path('root.img'),
    rootFormat: image.rootFormat,
  };
}

async function busyboxRoot({ work, busybox, modules }: Parts): Promise<{ root: string; rootFormat: Image['rootFormat'] }> {
  const tree = join(work, 'tree');
  const directories = ['bin', 'sbin', 'etc', 'root', 'dev', 'proc', 'sys', 'run', 'tmp', 'var', 'usr/lib'];
  await Promise.all(directories.map((name) => mkdir(join(tree, name), { recursive: true })));
  await copyFile(busybox, join(tree, 'bin/busybox'));
  await chmod(join(tree, 'bin/busybox'), 0o755);
  await Promise.all(applets.split(' ').map((name) => symlink('busybox', join(tree, 'bin', name))));
  await copyFile(join(import.meta.dirname, 'init'), join(tree, 'sbin/init'));
  await copyFile(join(import.meta.dirname, 'load'), join(tree, 'bin/load'));
  const blob = randomBytes(blobBytes);
  const md5 = createHash('md5').update(blob).digest('hex');
  await writeFile(join(tree, 'blob'), blob);
  await writeFile(join(tree, 'blob.md5'), `${md5}  /blob\n`);
  const output = join(work, 'busybox.img');
  const rootFormat = await packRoot({ tree, output, modules: [modules], identity: md5, signal: new AbortController().signal });
  return { root: output, rootFormat };
}

export interface Wanted {
  /** Also `debian-now`: Debian's root with this checkout's initramfs. */
  readonly debian?: boolean;
  /** Further images, by name. */
  readonly variants?: Readonly<Record<string, Variant>>;
}

/** Publishes `survive`, with busybox, and what else is wanted; the labs of a file share them. The directory with the images. */
export async function publishSurvivors(wanted: Wanted = {}): Promise<string> {
  const parts = await debianParts();
  const images = join(parts.work, 'images');
  await publishRoots(images, parts, wanted.debian ?? false);
  for (const [name, variant] of Object.entries(wanted.variants ?? {})) {
    await publishVariant(images, parts, name, variant);
  }
  return images;
}

export async function useImages(lab: TestLab, images: Promise<string>): Promise<void> {
  await symlink(await images, join(lab.state, 'images'));
}

async function publishRoots(images: string, parts: Parts, debian: boolean): Promise<void> {
  const roots = [
    { name: 'survive', ...(await busyboxRoot(parts)) },
    ...(debian ? [{ name: 'debian-now', root: parts.root, rootFormat: parts.rootFormat }] : []),
  ];
  const boot = join(parts.work, 'boot');
  await mkdir(boot, { recursive: true });
  await copyFile(parts.vmlinuz, join(boot, 'vmlinuz'));
  for (const { name, root, rootFormat } of roots) {
    const kernel = { version: parts.kernelVersion, modules: parts.modules, initramfs: initramfsFile };
    await assembleImage(
      { root, rootFormat, boot, kernels: [kernel] },
      { name: parseImageName(name), arch: 'amd64' },
      {
        images,
        cache: findPlaces({ env: process.env }).cache,
        work: join(parts.work, name),
        signal: new AbortController().signal,
        onProgress: () => {},
        now: new Date(),
      },
    );
  }
}

export interface Variant {
  /** `survive` when not given. */
  readonly of?: string;
  /** For the attacher's compiler. */
  readonly flags?: readonly string[];
  /** Other files of the initramfs. */
  readonly files?: Readonly<Record<string, string>>;
}

/** An image under another name and with another initramfs: a remedy can be taken away. */
async function publishVariant(images: string, parts: Parts, name: string, variant: Variant): Promise<void> {
  const of = variant.of ?? 'survive';
  const image = await new ImageCatalog(images).newest(parseImageName(of), 'amd64');
  if (!image) {
    throw new Error(`${of} was not published`);
  }
  const draft = await mkdtemp(join(parts.work, 'draft-'));
  await cp(join(images, image.digest, 'boot'), join(draft, 'boot'), { recursive: true });
  await copyFile(join(images, image.digest, 'root.img'), join(draft, 'root.img'));
  const extra = await mkdtemp(join(parts.work, 'extra-'));
  await mkdir(join(extra, 'bin'));
  for (const [path, text] of Object.entries(variant.files ?? {})) {
    await writeFile(join(extra, path), text, { mode: 0o755 });
  }
  if (variant.flags) {
    const source = join(projectRoot, 'rootfs/nbd-attach/nbd-attach.c');
    await execa('x86_64-linux-gnu-gcc', ['-static', '-O2', '-s', ...variant.flags, '-o', join(extra, 'bin/nbd-attach'), source]);
  }
  const names = (await readdir(extra, { recursive: true })).filter((path) => path !== 'bin');
  // Of two archives in one file the kernel unpacks both, the second over the first.
  const archive = join(extra, 'second.cpio');
  await execa('cpio', ['--quiet', '-o', '-H', 'newc', '-F', archive], { cwd: extra, input: `${names.join('\n')}\n` });
  await execa('zstd', ['-q', archive]);
  await appendFile(join(draft, 'boot', initramfsFile), await readFile(`${archive}.zst`));
  const { arch, kernelVersion, rootFormat } = image;
  await publishImage(draft, { name: parseImageName(name), arch, kernelVersion, rootFormat }, images, new Date());
}
