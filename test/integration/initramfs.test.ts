import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync, gzipSync, zstdDecompressSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { buildInitramfs } from '#src/images/initramfs.ts';
import { initramfsModules } from '#src/images/initramfs-modules.ts';
import { initramfsOptions } from '../support/initramfs-options.ts';
import { must, removeScratch, scratch, writeTree } from '../support/pi-card.ts';

afterAll(removeScratch);

describe('how it is packed', () => {
  const build = async (kernelVersion: string): Promise<Buffer> => {
    const options = await initramfsOptions(await scratch('packed'), kernelVersion);
    await buildInitramfs(options);
    const bytes = await readFile(options.output);
    expect(initramfsModules(bytes)).toEqual({ version: kernelVersion, modules: [] });
    return bytes;
  };
  test('in zstd for kernels that can read it', async () => {
    expect(zstdDecompressSync(await build('5.9.0')).length).toBeGreaterThan(1000);
  });
  test('in gzip for older ones, the same each time', async () => {
    const bytes = await build('5.4.0');
    expect(gunzipSync(bytes).length).toBeGreaterThan(1000);
    expect((await build('5.4.0')).equals(bytes)).toBe(true);
  });
});

describe('modules of an image from outside', () => {
  const building = async (modulesDep: string, place: (modules: string) => Promise<unknown>): Promise<void> => {
    const options = await initramfsOptions(await scratch('modules'), '6.12.0', modulesDep);
    await place(options.modules);
    await buildInitramfs(options);
  };
  test('one that is made of a hole is refused before it is read', async () => {
    const made = building('kernel/nbd.ko:\n', (modules) =>
      writeTree(modules, { 'kernel/nbd.ko': '' }).then(() => lengthen(modules, 'nbd', '65M')),
    );
    await expect(made).rejects.toMatchObject({
      code: 'bad-input',
      message: 'The kernel module kernel/nbd.ko has 68.2 MB: none is so large',
    });
  });
  test('many that come to too much together are, too', async () => {
    const names = Array.from({ length: 17 }, (_, index) => `part${index}`);
    const place = async (modules: string): Promise<void> => {
      await writeTree(modules, Object.fromEntries(['nbd', ...names].map((name) => [`kernel/${name}.ko`, ''])));
      await Promise.all(names.map((name) => lengthen(modules, name, '63M')));
    };
    const made = building(`kernel/nbd.ko: ${names.map((name) => `kernel/${name}.ko`).join(' ')}\n`, place);
    await expect(made).rejects.toMatchObject({ code: 'bad-input', message: expect.stringContaining('more than 1.1 GB together') });
  });
  test('one that unpacks to too much is unpacked no further', async () => {
    const bomb = gzipSync(Buffer.alloc(65 * 2 ** 20), { level: 1 });
    const made = building('kernel/nbd.ko.gz:\n', (modules) => writeTree(modules, { 'kernel/nbd.ko.gz': bomb }));
    await expect(made).rejects.toMatchObject({
      code: 'bad-input',
      message: expect.stringMatching(/nbd\.ko\.gz unpacks to more than 67\.1 MB/),
    });
  });
  test('one that is not there', async () => {
    const made = building('kernel/nbd.ko:\n', () => Promise.resolve());
    await expect(made).rejects.toMatchObject({ code: 'bad-input', message: 'modules.dep names kernel/nbd.ko, which is no file' });
  });
});

async function lengthen(modules: string, name: string, size: string): Promise<void> {
  await must('truncate', '-s', size, join(modules, `kernel/${name}.ko`));
}
