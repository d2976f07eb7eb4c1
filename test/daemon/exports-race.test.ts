import { mkdtempSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { Exports } from '#src/daemon/exports.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';

let afterListing = (_directory: string): void => {};

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const readdir = async (directory: string): Promise<string[]> => {
    const names = await real.readdir(directory);
    afterListing(directory);
    return names;
  };
  return { ...real, readdir };
});

test('a link that another boot takes away while a node gets its own is passed over', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'cardless-exports-'));
  const exports = new Exports(directory);
  const [red, blue] = [parseIpv4('10.0.0.5'), parseIpv4('10.0.0.6')];
  const disksOf = (node: string) => ({ directories: [`/overlays/${node}`], root: '/root.img', overlay: `/overlays/${node}/a.img` });
  await exports.place(red, disksOf('red'));
  let taken = 0;
  afterListing = (listed) => {
    if (listed === join(directory, 'overlay')) {
      taken += 1;
      rmSync(join(listed, red), { force: true });
    }
  };
  await exports.place(blue, disksOf('blue'));
  expect(taken).toBeGreaterThan(0);
  expect(readlinkSync(join(directory, 'overlay', blue))).toBe('/overlays/blue/a.img');
});
