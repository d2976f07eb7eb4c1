import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Reflinks } from '#src/overlays/reflinks.ts';

test('a question that failed once is asked again', async () => {
  const directory = join(mkdtempSync(join(tmpdir(), 'cardless-')), 'store');
  writeFileSync(directory, 'in the way');
  const reflinks = new Reflinks(directory);
  await expect(reflinks.here()).rejects.toThrow('EEXIST');
  rmSync(directory);
  expect(typeof (await reflinks.here())).toBe('boolean');
});
