import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Architecture, Image } from '../domain/image.ts';
import { removeTree } from '../process/remove-tree.ts';
import { type AssembleOptions, assembleImage, type ImageIdentity, initramfsFile } from './assemble.ts';
import { collectBootFiles } from './boot-files.ts';
import { removeOldTrees } from './kept-trees.ts';
import { section } from './progress.ts';
import type { Recipe } from './recipe/recipe.ts';
import { buildTree } from './tree.ts';

export interface BuildOptions extends AssembleOptions {
  /** Do not use a cached tree. */
  readonly fresh: boolean;
}

export async function buildImage(recipe: Recipe, arch: Architecture, options: BuildOptions): Promise<Image> {
  const { work, signal, onProgress } = options;
  await mkdir(work, { recursive: true });
  try {
    await using tree = await buildTree(recipe, arch, { ...options, onProgress: section(onProgress, 0, 0.9) });
    // What cannot be removed now is left to the next build.
    await removeOldTrees(options.cache, options.now).catch(() => []);
    onProgress({ phase: 'collecting the boot files', fraction: 0.9 });
    const boot = join(work, 'boot');
    await mkdir(boot, { recursive: true });
    await collectBootFiles(tree.directory, boot, arch, signal);
    const kernel = { version: tree.kernelVersion, modules: join(tree.directory, 'modules'), initramfs: initramfsFile };
    const published = await assembleImage(
      {
        root: join(tree.directory, 'root.img'),
        rootFormat: tree.rootFormat,
        boot,
        kernels: [kernel],
      },
      identityOf(recipe, arch),
      { ...options, onProgress: section(onProgress, 0.92, 1) },
    );
    onProgress({ phase: 'done', fraction: 1 });
    return published;
  } finally {
    await removeTree(work);
  }
}

/** What is not said is left out, so that it has no part in the digest. */
function identityOf(recipe: Recipe, arch: Architecture): ImageIdentity {
  const { name, kernelArguments, dataVolume } = recipe;
  return { name, arch, ...(kernelArguments.length > 0 ? { kernelArguments } : {}), ...(dataVolume ? { dataVolume } : {}) };
}
