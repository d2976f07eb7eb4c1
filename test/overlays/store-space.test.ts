import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { StoreSpace } from '#src/overlays/store-space.ts';

test('a store is low for who writes to the same file system, and for nobody else', async () => {
  const store = await mkdtemp(join(tmpdir(), 'cardless-store-'));
  const low = new StoreSpace([store], 2 ** 60);
  expect([await low.isLowAt(tmpdir()), await low.isLowAt('/proc')]).toEqual([true, false]);
  expect(await new StoreSpace([store], 0).isLowAt(tmpdir())).toBe(false);
});
