import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { prune } from '#src/images/commit/prune.ts';

test('nothing is removed by way of a link in the layer, at any depth', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cardless-prune-'));
  const at = (path: string): string => join(folder, path);
  await Promise.all(['base/a/b', 'upper/a', 'outside/b'].map((path) => mkdir(at(path), { recursive: true })));
  await Promise.all(['base/a/b/file', 'outside/file', 'outside/b/file', 'upper/plain'].map((path) => writeFile(at(path), path)));
  await symlink(at('outside'), at('upper/etc'));
  await symlink(at('outside/b'), at('upper/a/b'));
  const options = { base: at('base'), upper: at('upper'), opaque: new Set(['']), signal: new AbortController().signal };
  const leaveOut = (path: string, change: 'added' | 'changed') => prune([{ path, change, type: 'file', what: [] }], options);
  await expect(leaveOut('/etc/file', 'added')).rejects.toMatchObject({ code: 'bad-input', message: expect.stringContaining('/etc ') });
  await expect(leaveOut('/etc/b/file', 'added')).rejects.toMatchObject({ code: 'bad-input' });
  await expect(leaveOut('/a/b/file', 'changed')).rejects.toMatchObject({ code: 'bad-input', message: expect.stringContaining('/a/b ') });
  expect(await Promise.all(['outside/file', 'outside/b/file'].map((path) => readFile(at(path), 'utf8')))).toEqual([
    'outside/file',
    'outside/b/file',
  ]);
  await leaveOut('/plain', 'added');
  await expect(readFile(at('upper/plain'))).rejects.toThrow('ENOENT');
  await rm(folder, { recursive: true });
});
