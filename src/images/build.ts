import { copyFile, cp, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Architecture, Image } from '../domain/image.ts';
import { run } from '../process/run.ts';
import { type AssembleOptions, assembleImage, initramfsFile } from './assemble.ts';
import { section } from './progress.ts';
import type { Recipe } from './recipe.ts';
import { buildTree } from './tree.ts';

export interface BuildOptions extends AssembleOptions {
  /** Do not use a cached tree. */
  readonly fresh: boolean;
}

/** Device trees under the names that Pi firmware asks for; mainline kernels call these SoCs by another number. */
const firmwareDtbNames: Readonly<Record<string, string>> = {
  'bcm2837-rpi-3-b.dtb': 'bcm2710-rpi-3-b.dtb',
  'bcm2837-rpi-3-b-plus.dtb': 'bcm2710-rpi-3-b-plus.dtb',
  'bcm2837-rpi-cm3-io3.dtb': 'bcm2710-rpi-cm3.dtb',
  'bcm2837-rpi-zero-2-w.dtb': 'bcm2710-rpi-zero-2-w.dtb',
};

export async function buildImage(recipe: Recipe, arch: Architecture, options: BuildOptions): Promise<Image> {
  const { work, signal, onProgress } = options;
  await mkdir(work, { recursive: true });
  try {
    const tree = await buildTree(recipe, arch, { ...options, onProgress: section(onProgress, 0, 0.9) });
    onProgress({ phase: 'collecting the boot files', fraction: 0.9 });
    const boot = join(work, 'boot');
    await mkdir(boot, { recursive: true });
    await (arch === 'arm64'
      ? collectPiFiles(tree.directory, boot, signal)
      : copyFile(join(tree.directory, 'vmlinuz'), join(boot, 'vmlinuz')));
    const kernel = { version: tree.kernelVersion, modules: join(tree.directory, 'modules'), initramfs: initramfsFile };
    const published = await assembleImage(
      {
        root: join(tree.directory, 'root.img'),
        rootFormat: tree.rootFormat,
        boot,
        kernels: [kernel],
      },
      { name: recipe.name, arch },
      { ...options, onProgress: section(onProgress, 0.92, 1) },
    );
    onProgress({ phase: 'done', fraction: 1 });
    return published;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function collectPiFiles(parts: string, boot: string, signal: AbortSignal): Promise<void> {
  // Firmware unpacks a gzip'd kernel itself, and TFTP is lock-step: a third of the bytes is a third of the time.
  await copyFile(join(parts, 'vmlinuz'), join(boot, 'kernel8.img'));
  await run('gzip', ['-9', '-n', join(boot, 'kernel8.img')], { signal });
  await run('mv', [join(boot, 'kernel8.img.gz'), join(boot, 'kernel8.img')]);
  await cp(join(parts, 'firmware'), boot, { recursive: true });
  for (const name of await readdir(join(parts, 'dtbs'))) {
    await copyFile(join(parts, 'dtbs', name), join(boot, name));
    const firmwareName = firmwareDtbNames[name];
    if (firmwareName !== undefined) {
      await copyFile(join(parts, 'dtbs', name), join(boot, firmwareName));
    }
  }
}
