import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { removeTree } from '#src/process/remove-tree.ts';

const nest = "import os, sys\nos.chdir(sys.argv[1])\nfor _ in range(30):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)";

test('what is nested deeper than a path can be long is removed, by Node it is not', async () => {
  const place = await mkdtemp(join(tmpdir(), 'cardless-deep-'));
  await execa('python3', ['-c', nest, place]);
  await expect(rm(place, { recursive: true, force: true })).rejects.toThrow('ENAMETOOLONG');
  await removeTree(place);
  await expect(readdir(place)).rejects.toThrow('ENOENT');
});

test('what is not there is gone already; what cannot be removed is told', async () => {
  await removeTree(join(tmpdir(), 'cardless-not-there', 'x'));
  await expect(removeTree('/proc/version')).rejects.toMatchObject({ code: 'failed' });
});
