import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import type { ImageFile } from '#src/domain/image.ts';
import { type FatFile, makeFatImage, putIntoFatImage } from '#src/images/fat-image.ts';
import { clusterBytes, ramdiskBytes, ramdiskFiles } from '#src/policy/boot-ramdisk.ts';
import { ran } from '../support/lab-server.ts';

interface Draft {
  readonly folder: string;
  readonly listed: readonly ImageFile[];
  readonly files: readonly FatFile[];
}

async function draft(sizes: Readonly<Record<string, number>>): Promise<Draft> {
  const folder = await mkdtemp(join(tmpdir(), 'cardless-fat-'));
  for (const [path, size] of Object.entries(sizes)) {
    await mkdir(dirname(join(folder, 'boot', path)), { recursive: true });
    await writeFile(join(folder, 'boot', path), Buffer.alloc(size, path));
  }
  const listed = Object.entries(sizes).map(([path, bytes]) => ({ path: `boot/${path}`, bytes, sha256: '' }));
  return { folder, listed, files: ramdiskFiles(listed).map(({ file, path }) => ({ source: join(folder, file), path })) };
}

async function make(file: string, { listed, files }: Draft): Promise<Buffer> {
  await makeFatImage({ file, bytes: ramdiskBytes(listed), clusterBytes, label: 'BOOT', volumeId: 'c0ffee11', files });
  return await readFile(file);
}

async function expectContent(file: string, { folder, files }: Draft, extra: readonly string[] = []): Promise<void> {
  expect(await ran('fsck.vfat', ['-n', file])).toMatchObject({ code: 0 });
  const out = join(folder, 'out');
  await rm(out, { recursive: true, force: true });
  await mkdir(out);
  expect(await ran('mcopy', ['-s', '-i', file, '::', out])).toMatchObject({ code: 0 });
  const found = await readdir(out, { recursive: true, withFileTypes: true });
  expect(found.filter((entry) => entry.isFile())).toHaveLength(files.length + extra.length);
  for (const { source, path } of files) {
    expect((await readFile(join(out, path))).equals(await readFile(source))).toBe(true);
  }
}

test('folders, long names and sizes around a cluster; the same bytes whenever it is made', async () => {
  const files = await draft({
    'bcm2710-rpi-3-b-plus.dtb': clusterBytes,
    'kernel8.img': 3 * clusterBytes + 1,
    'start.elf': clusterBytes - 1,
    'overlays/README': 10,
    'overlays/a-long-overlay-name.dtbo': 847,
    'overlays/deep/x.dtbo': 1,
  });
  const file = join(files.folder, 'boot.img');
  const first = await make(file, files);
  for (const { source } of files.files) {
    await utimes(source, 1, 1_700_000_000);
  }
  expect((await make(file, files)).equals(first)).toBe(true);
  await expectContent(file, files);
  expect((await ran('mdir', ['-i', file, '::'])).stdout).toMatch(/1980-01-01/);
});

test('there is room for what the calculation says, also with many small files', async () => {
  const overlays = Array.from({ length: 400 }, (_, index) => [`overlays/an-overlay-with-a-name-${index}.dtbo`, 700 + index] as const);
  const trees = Array.from({ length: 60 }, (_, index) => [`bcm2711-rpi-some-board-${index}.dtb`, 20_000] as const);
  const files = await draft(Object.fromEntries([...overlays, ...trees, ['kernel8.img', 30_000_000] as const]));
  const file = join(files.folder, 'boot.img');
  await make(file, files);
  const texts = ['config.txt', 'cmdline.txt'];
  for (const [index, name] of texts.entries()) {
    await writeFile(join(files.folder, name), `${name} ${'x'.repeat(3000 * index)}`);
  }
  const sources = texts.map((name) => join(files.folder, name));
  await putIntoFatImage(file, sources);
  await putIntoFatImage(file, sources);
  await expectContent(file, files, texts);
  expect((await ran('mtype', ['-i', file, '::config.txt'])).stdout).toBe('config.txt ');
});
