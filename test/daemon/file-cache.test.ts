import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bootAssets, FileCache } from '#src/daemon/file-sources.ts';

const nobody = { text: () => undefined, image: undefined, session: undefined };

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'cardless-cache-'));
  await writeFile(join(path, 'kernel'), 'x'.repeat(100_000));
  return path;
}

test('a rack that asks for one file at once gets one copy of it', async () => {
  const cache = new FileCache(1_000_000);
  const file = join(await folder(), 'kernel');
  const copies = await Promise.all(Array.from({ length: 40 }, () => cache.read(file)));
  expect(new Set([...copies, await cache.read(file)]).size).toBe(1);
});

test('a file that cannot be read is tried again', async () => {
  const cache = new FileCache(1_000_000);
  const file = join(await folder(), 'later');
  await expect(cache.read(file)).rejects.toThrow('ENOENT');
  await writeFile(file, 'here');
  expect((await cache.read(file)).toString()).toBe('here');
});

test.each(['constructor', '__proto__', 'toString'])('%s is no boot asset', async (name) => {
  const source = bootAssets({ 'ipxe.efi': [await folder()] }, new FileCache(1000));
  expect(await source(name, nobody)).toEqual({ pass: 'not a boot asset' });
});
