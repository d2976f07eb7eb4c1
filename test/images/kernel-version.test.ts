import { expect, test } from 'vitest';
import { readsErofs, readsZstd } from '#src/images/kernel-version.ts';

test.each([
  ['6.12.25+rpt-rpi-v8', true, true],
  ['5.17.0', true, true],
  ['5.10.103-v8+', false, true],
  ['5.9', false, true],
  ['5.4.83-v7l+', false, false],
  ['4.19.97', false, false],
  ['no version', false, false],
])('%s reads our erofs: %s, and an initramfs in zstd: %s', (version, erofs, zstd) => {
  expect([readsErofs(version), readsZstd(version)]).toEqual([erofs, zstd]);
});
