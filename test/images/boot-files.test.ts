import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import type { Architecture } from '#src/domain/image.ts';
import { collectBootFiles } from '#src/images/boot-files.ts';

function folder(...names: readonly string[]): string {
  const directory = mkdtempSync(join(tmpdir(), 'cardless-parts-'));
  for (const name of names) {
    mkdirSync(join(directory, name, '..'), { recursive: true });
    writeFileSync(join(directory, name), name);
  }
  return directory;
}

async function collected(arch: Architecture, ...parts: readonly string[]): Promise<string> {
  const boot = folder();
  await collectBootFiles(folder('vmlinuz', ...parts), boot, arch, new AbortController().signal);
  return boot;
}

const listed = (boot: string): string[] => readdirSync(boot, { recursive: true, encoding: 'utf8' }).toSorted();

test('a PC needs its kernel and nothing else', async () => {
  expect(listed(await collected('amd64', 'dtbs/bcm2837-rpi-3-b.dtb', 'firmware/start.elf'))).toEqual(['vmlinuz']);
});

test("a 64-bit Pi gets a gzip'd kernel, and device trees under both names", async () => {
  const boot = await collected('arm64', 'dtbs/bcm2837-rpi-3-b.dtb', 'firmware/start.elf', 'firmware/overlays/a.dtbo', 'overlays/b.dtbo');
  expect(listed(boot)).toEqual([
    'bcm2710-rpi-3-b.dtb',
    'bcm2837-rpi-3-b.dtb',
    'kernel8.img',
    'overlays',
    'overlays/a.dtbo',
    'overlays/b.dtbo',
    'start.elf',
  ]);
  expect(gunzipSync(readFileSync(join(boot, 'kernel8.img'))).toString()).toBe('vmlinuz');
});

test('a 32-bit Pi gets the kernel as it is, and the trees of Raspberry Pis alone', async () => {
  const boot = await collected('armhf', 'dtbs/bcm2836-rpi-2-b.dtb', 'dtbs/sun7i-a20-olinuxino-lime2.dtb');
  expect(listed(boot)).toEqual(['bcm2709-rpi-2-b.dtb', 'bcm2710-rpi-2-b.dtb', 'bcm2836-rpi-2-b.dtb', 'kernel7.img']);
  expect(readFileSync(join(boot, 'kernel7.img'), 'utf8')).toBe('vmlinuz');
});

test('without firmware or device trees there are none', async () => {
  expect(listed(await collected('arm64'))).toEqual(['kernel8.img']);
});
