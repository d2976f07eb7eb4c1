/**
 * A configured Debian tree, and the packages that are only unpacked: kernel and firmware. This is the slow part,
 * so its result is kept in the cache under the recipe's key.
 */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { projectRoot } from '../config/places.ts';
import { UserError } from '../domain/errors.ts';
import type { Architecture } from '../domain/image.ts';
import { removeTree } from '../process/remove-tree.ts';
import { containedCommand, run } from '../process/run.ts';
import { writeSources } from './apt-sources.ts';
import { collectBootParts } from './boot-parts.ts';
import { readBootstrapFailure } from './bootstrap-failure.ts';
import { keepTree, partsFile, type TreeParts, takeTree } from './kept-trees.ts';
import { packRoot } from './pack-root.ts';
import { type OnProgress, section } from './progress.ts';
import { type Customization, customization, quoteShell, stepMark } from './recipe/customize.ts';
import { beyondPackages, kernelPackage, type Recipe, recipeKey, wantedPackages } from './recipe/recipe.ts';
import { openTree } from './tree-access.ts';

/** Raise when the code below makes another tree from the same recipe. */
const builderVersion = 3;
/** What a tree of the shipped recipe prints; only the progress bar depends on it. */
const usualPackageLines = 270;
/** Of what mmdebstrap prints: enough to find the reason of a failure in. */
const keptLines = 400;

export interface TreeOptions {
  readonly cache: string;
  readonly work: string;
  readonly fresh: boolean;
  readonly now: Date;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

export async function buildTree(recipe: Recipe, arch: Architecture, options: TreeOptions): Promise<TreeParts> {
  const place = { ...options, name: `${recipe.name}-${arch}-${recipeKey(recipe, arch, builderVersion)}` };
  const kept = options.fresh ? undefined : await takeTree(place);
  if (kept) {
    return kept;
  }
  const debs = join(options.work, 'debs');
  const tree = join(options.work, 'tree');
  const parts = join(options.work, 'parts');
  await Promise.all([debs, parts].map((directory) => mkdir(directory, { recursive: true })));
  await bootstrap(recipe, arch, tree, debs, { ...options, onProgress: section(options.onProgress, 0, 0.75) });
  options.onProgress({ phase: 'unpacking the kernel', fraction: 0.76 });
  const { work, signal } = options;
  const kernelInDebs = kernelPackage(recipe, arch) !== 'none';
  const kernelVersion = await collectBootParts({ debs, tree, parts, work, kernelInDebs, signal });
  await removeIdentity(tree);
  options.onProgress({ phase: 'packing the root', fraction: 0.8 });
  const rootFormat = await packRoot({
    tree,
    output: join(parts, 'root.img'),
    modules: [join(tree, 'usr/lib/modules', kernelVersion)],
    identity: `${await readFile(join(tree, 'var/lib/dpkg/status'), 'utf8')}${kernelVersion}${beyondPackages(recipe)}`,
    signal,
  });
  await removeTree(tree);
  await writeFile(join(parts, partsFile), JSON.stringify({ kernelVersion, rootFormat }));
  return await keepTree(parts, { kernelVersion, rootFormat }, place);
}

async function bootstrap(recipe: Recipe, arch: Architecture, tree: string, debs: string, options: TreeOptions): Promise<void> {
  const sources = await writeSources(recipe.suite, join(options.work, 'sources.list'));
  const fetch = join(projectRoot, 'rootfs/recipes/fetch-boot-packages.sh');
  const customize = await writeCustomization(customization(recipe), join(options.work, 'recipe'));
  const components = sources.length > 0 ? [] : ['--components=main,non-free-firmware'];
  const packages = wantedPackages(recipe);
  const args = [
    `--arch=${arch}`,
    '--variant=minbase',
    '--mode=root',
    '--verbose',
    ...components,
    ...(packages.length > 0 ? [`--include=${packages.join(',')}`] : []),
    '--aptopt=APT::Install-Recommends "false"',
    ...['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/locale/*', '/usr/share/info/*'].map((path) => `--dpkgopt=path-exclude=${path}`),
    `--customize-hook=sh ${quoteShell(customize)} "$1"`,
    `--customize-hook=${[fetch, debs, kernelPackage(recipe, arch), ...firmwarePackages(recipe, arch)].map(quoteShell).join(' ')}`,
    recipe.suite,
    tree,
    ...sources,
  ];
  const said: string[] = [];
  let packageLines = 0;
  const [file, contained] = containedCommand('mmdebstrap', args);
  try {
    await run(file, contained, {
      signal: options.signal,
      env: { SOURCE_DATE_EPOCH: '0' },
      onLine: (line) => {
        said.push(line);
        said.splice(0, said.length - keptLines);
        if (/^(Unpacking|Setting up) /.test(line)) {
          packageLines += 1;
          options.onProgress({ phase: `installing Debian ${recipe.suite} for ${arch}`, fraction: packageLines / usualPackageLines });
        } else if (line.startsWith(stepMark)) {
          options.onProgress({ phase: line.slice(stepMark.length), fraction: 1 });
        }
      },
    });
  } catch (error) {
    const isFailure = error instanceof UserError && error.code === 'failed';
    throw (isFailure && readBootstrapFailure(said, recipe, arch)) || error;
  }
}

function firmwarePackages(recipe: Recipe, arch: Architecture): string[] {
  return arch === 'amd64' || recipe.firmware === 'none' ? [] : ['raspi-firmware'];
}

/** The script and, beside it, what it reads. */
async function writeCustomization({ script, inputs }: Customization, directory: string): Promise<string> {
  await mkdir(directory, { recursive: true });
  for (const [name, from] of inputs) {
    await ('content' in from ? writeFile(join(directory, name), from.content) : copyFile(from.source, join(directory, name)));
  }
  const file = join(directory, 'customize.sh');
  await writeFile(file, script);
  return file;
}

/** What must not be the same on every node; the server gives each its own at boot. Commands of a recipe may have made some again. */
async function removeIdentity(tree: string): Promise<void> {
  // A command may have made links, which must not lead to this machine's own files.
  const view = openTree(tree);
  for (const name of (await view.list('etc/ssh')).filter((entry) => entry.startsWith('ssh_host_'))) {
    await view.remove(`etc/ssh/${name}`);
  }
  await view.remove('etc/hostname');
  await view.remove('etc/resolv.conf');
  await view.write('etc/machine-id', '', 0o644);
  await view.write('etc/fstab', '', 0o644);
}
