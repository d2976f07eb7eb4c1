import { mkdtemp, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { findPlaces, projectRoot } from '#src/config/places.ts';
import { parseImageName } from '#src/domain/image.ts';
import { ImageCatalog } from '#src/images/catalog.ts';
import { buildInitramfs } from '#src/images/initramfs.ts';
import { ensureNodePrograms } from '#src/images/node-programs.ts';
import { loadRecipe } from '#src/images/recipe/load-recipe.ts';
import { buildTree } from '#src/images/tree.ts';
import { realImages } from '../test/support/guests.ts';
import { cardless, ran, until } from '../test/support/lab-server.ts';

const env = { CARDLESS_CACHE: findPlaces({ env: process.env }).cache };

async function listed(state: string): Promise<unknown> {
  return JSON.parse((await cardless(['--state', state, 'image', 'list', '--json'])).stdout);
}

describe('images', () => {
  test.each(['arm64', 'amd64'] as const)('everything that a board asks for is there, for %s', async (arch) => {
    const image = await new ImageCatalog(realImages).newest(parseImageName('debian-13'), arch);
    const sizes = new Map(image?.files.map((file) => [file.path, file.bytes]));
    const needed =
      arch === 'arm64'
        ? ['bootcode.bin', 'start.elf', 'fixup.dat', 'bcm2710-rpi-3-b-plus.dtb', 'bcm2711-rpi-4-b.dtb', 'kernel8.img']
        : ['vmlinuz'];
    for (const name of needed) {
      expect(sizes.get(`boot/${name}`), name).toBeGreaterThan(1000);
    }
  });

  test.each([
    ['arm64', 4e6],
    ['amd64', 5e6],
  ] as const)('the initramfs for %s is small, the same bytes each time, and kept for the next image', async (arch, maxBytes) => {
    const { cache } = findPlaces({ env: process.env });
    const work = await mkdtemp(join(tmpdir(), 'cardless-initramfs-'));
    const { signal } = new AbortController();
    const common = { cache, signal, fresh: false, now: new Date(), onProgress: () => undefined };
    await using tree = await buildTree(await loadRecipe('debian-13'), arch, { ...common, work: join(work, 'tree') });
    const build = async (name: string): Promise<Buffer> => {
      const output = join(work, `${name}.img`);
      await buildInitramfs({
        programs: await ensureNodePrograms({ cache, arch, signal }),
        modules: join(tree.directory, 'modules'),
        kernelVersion: tree.kernelVersion,
        cache: join(work, 'cache'),
        work: join(work, name),
        output,
        signal,
      });
      return await readFile(output);
    };
    const first = await build('first');
    expect(first.length).toBeLessThan(maxBytes);
    const kept = (await readdir(join(work, 'cache/initramfs'))).map((name) => join(work, 'cache/initramfs', name));
    expect(kept).toHaveLength(1);
    await Promise.all(kept.map((file) => rename(file, `${file}.away`)));
    expect((await build('anew')).equals(first)).toBe(true);
    await Promise.all(kept.map((file) => writeFile(file, 'kept')));
    expect((await build('kept')).toString()).toBe('kept');
  });

  test('a full disk: a clear error, no image; with space the same command succeeds', async () => {
    const state = await mkdtemp(join(tmpdir(), 'cardless-full-'));
    await execa('mount', ['-t', 'tmpfs', '-o', 'size=60M', 'full', state]);
    try {
      const build = ['--state', state, 'image', 'build', '--arch', 'amd64', '--json'];
      const full = await cardless(build, { env });
      expect(full.stderr).toMatch(/There is no space left.*\n.*nothing half-made was kept/);
      expect(full.code).toBe(1);
      expect(await listed(state)).toEqual([]);
      expect(await readdir(join(state, 'work')).catch(() => [])).toEqual([]);
      await execa('mount', ['-o', 'remount,size=2G', state]);
      const done = await cardless(build, { env });
      expect(JSON.parse(done.stdout)).toMatchObject([{ name: 'debian-13', arch: 'amd64' }]);
      expect(await listed(state)).toMatchObject([{ name: 'debian-13', arch: 'amd64' }]);
    } finally {
      await execa('umount', ['--lazy', state]);
    }
  });

  test('killed in the middle: no image, no process and no mount are left, and the next run cleans up', async () => {
    const state = await mkdtemp(join(tmpdir(), 'cardless-killed-'));
    const cli = execa(process.execPath, [join(projectRoot, 'src/main.ts'), '--state', state, 'image', 'build', '--arch', 'amd64'], {
      reject: false,
      stdin: 'ignore',
      env: { CARDLESS_CACHE: join(state, 'cache') },
    });
    const ours = async (): Promise<string> => (await ran('pgrep', ['-fa', state])).stdout;
    const tree = join(state, 'work/build-debian-13-amd64/tree');
    await until(async () => (await readdir(tree).catch((): string[] => [])).includes('usr'), 'the build to be under way', 120_000);
    const server = Number.parseInt(await readFile(join(state, 'lock'), 'utf8'), 10);
    process.kill(server, 'SIGKILL');
    expect((await cli).exitCode).toBe(1);
    await until(async () => (await ours()) === '', `the build's programs to end: ${await ours()}`);
    expect(await readFile('/proc/mounts', 'utf8')).not.toContain(state);
    expect(await listed(state)).toEqual([]);
    expect(await readdir(join(state, 'work')).catch(() => 'gone')).toBe('gone');
  });

  test('Ctrl-C cancels a build and cleans up', async () => {
    const state = await mkdtemp(join(tmpdir(), 'cardless-cancelled-'));
    const cli = execa(process.execPath, [join(projectRoot, 'src/main.ts'), '--state', state, 'image', 'build', '--arch', 'amd64'], {
      reject: false,
      stdin: 'ignore',
      env: { CARDLESS_CACHE: join(state, 'cache') },
    });
    await until(
      async () => (await readdir(join(state, 'work/build-debian-13-amd64/tree')).catch((): string[] => [])).includes('usr'),
      'the build to be under way',
      120_000,
    );
    cli.kill('SIGINT');
    const cancelled = await cli;
    expect(cancelled.stderr).toContain('was cancelled');
    expect(cancelled.exitCode).toBe(1);
    expect((await ran('pgrep', ['-fa', state])).stdout).toBe('');
    expect(await readdir(join(state, 'work')).catch(() => [])).toEqual([]);
  });
});
