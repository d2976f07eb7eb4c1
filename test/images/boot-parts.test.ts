import { mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { collectBootParts } from '#src/images/boot-parts.ts';
import { run } from '#src/process/run.ts';

function folder(files: readonly string[]): string {
  const directory = mkdtempSync(join(tmpdir(), 'cardless-parts-'));
  for (const name of files) {
    mkdirSync(join(directory, name, '..'), { recursive: true });
    writeFileSync(join(directory, name), name);
  }
  return directory;
}

interface Made {
  readonly parts: string;
  readonly tree: string;
  readonly version: string;
}

/** From a package with these files, or a tree that has them. */
async function collected(files: readonly string[], kernelInDebs = true): Promise<Made> {
  const content = folder(files);
  const [debs, parts, work] = [folder([]), folder([]), folder([])];
  if (kernelInDebs) {
    mkdirSync(join(content, 'DEBIAN'));
    const fields = { Package: 'kernel', Version: '1', Architecture: 'all', Maintainer: 'nobody <n@example.org>', Description: 'test' };
    const control = Object.entries(fields).map(([key, value]) => `${key}: ${value}\n`);
    writeFileSync(join(content, 'DEBIAN/control'), control.join(''));
    await run('dpkg-deb', ['--build', content, join(debs, 'kernel.deb')]);
  }
  const tree = kernelInDebs ? folder(['usr/lib/os-release']) : content;
  // As in every Debian since 12.
  symlinkSync('usr/lib', join(tree, 'lib'));
  const { signal } = new AbortController();
  const version = await collectBootParts({ debs, tree, parts, work, kernelInDebs, signal });
  return { parts, tree, version };
}

/** Just enough for depmod. */
const kernel = (root: string, version: string): string[] => [
  `boot/vmlinuz-${version}`,
  ...['modules.order', 'modules.builtin'].map((name) => `${root}/modules/${version}/${name}`),
];

describe('boot parts of a kernel package', () => {
  test.each(['usr/lib', 'lib'])('modules below /%s get into the tree with their list of dependencies', async (root) => {
    const { parts, tree, version } = await collected(kernel(root, '6.1-x'));
    expect(version).toBe('6.1-x');
    expect(readFileSync(join(parts, 'vmlinuz'), 'utf8')).toBe('boot/vmlinuz-6.1-x');
    expect(readdirSync(join(tree, 'usr/lib/modules/6.1-x'))).toContain('modules.dep');
    expect(readdirSync(join(parts, 'modules'))).toContain('modules.dep');
  });
  test('device trees lie in a folder of their maker, or in one for all', async () => {
    const devices = 'usr/lib/linux-image-6.1-x';
    const apart = await collected([...kernel('lib', '6.1-x'), `${devices}/broadcom/bcm2711-a.dtb`, `${devices}/allwinner/b.dtb`]);
    expect(readdirSync(join(apart.parts, 'dtbs'))).toEqual(['bcm2711-a.dtb']);
    const together = await collected([...kernel('lib', '6.1-x'), `${devices}/bcm2836-a.dtb`, `${devices}/overlays/o.dtbo`]);
    expect(readdirSync(join(together.parts, 'dtbs'))).toContain('bcm2836-a.dtb');
    expect(readdirSync(join(together.parts, 'overlays'))).toEqual(['o.dtbo']);
  });
  test('a package without a kernel is refused', async () => {
    await expect(collected(['usr/share/x'])).rejects.toThrow(/no kernel with modules/);
  });
});

describe('with "kernel: none"', () => {
  test('the kernel is the one of the tree', async () => {
    expect(await collected(kernel('usr/lib', '6.6-mine'), false)).toMatchObject({ version: '6.6-mine' });
  });
  test('none, or several, are told', async () => {
    await expect(collected(['usr/x'], false)).rejects.toThrow(/one kernel of its own; it has no kernel/);
    const two = [...kernel('usr/lib', '6.1-a'), ...kernel('usr/lib', '6.2-b')];
    await expect(collected(two, false)).rejects.toThrow(/it has 2 kernels \(6.1-a, 6.2-b\)/);
  });
});
