/**
 * The one Debian tree that all contenders boot, and what each serves it as. Debian's own tools make all of it, once: it is
 * kept in the cache.
 */
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Places, projectRoot } from '../../../config/places.ts';
import { UserError } from '../../../domain/errors.ts';
import { type Architecture, type Image, parseImageName } from '../../../domain/image.ts';
import { debianSources } from '../../../images/apt-sources.ts';
import { assembleImage } from '../../../images/assemble.ts';
import { packRoot } from '../../../images/pack-root.ts';
import { loadRecipe } from '../../../images/recipe/load-recipe.ts';
import { containedCommand, run } from '../../../process/run.ts';
import type { Context } from '../../context.ts';
import { demoImage } from '../../ensure-images.ts';
import type { BootFiles, ByContender } from './root-figures.ts';

const suite = 'trixie';
const scripts = join(projectRoot, 'bench/root');
/** What LTSP and a plain NFS root need in the client's tree beside the packages of debian-13. */
const clientExtras = ['linux-image-amd64', 'initramfs-tools', 'nfs-common', 'ltsp', 'busybox-static', 'zstd'];
/** Of the machine that serves LTSP and NFS. */
const serverPackages = ['ltsp', 'nfs-ganesha', 'nfs-ganesha-vfs', 'rpcbind', 'dnsmasq-base', 'squashfs-tools', 'cpio', 'busybox', 'procps'];
const treeScripts = ['prepare-tree.sh', 'nfs-bottom-overlay', 'bench-ready.service', 'make-ltsp.sh', 'ltsp.conf'];
/** Raise when the code below makes something else of the same packages and scripts. */
const version = 1;

export interface RootTrees {
  /** The client's tree, which plain NFS exports as it is. */
  readonly client: string;
  /** A Debian with the peers' servers; never booted. */
  readonly server: string;
  /** srv/, tftp/ and ltsp-dnsmasq.conf, as LTSP's own commands made them. */
  readonly ltsp: string;
  /** root.img, vmlinuz, modules/, busybox: of the same tree. */
  readonly ours: string;
}

export async function ensureRootTrees(context: Context): Promise<RootTrees> {
  const recipe = await loadRecipe('debian-13');
  const clientPackages = [...recipe.packages, ...clientExtras];
  const key = await keyOf([...clientPackages, '/', ...serverPackages]);
  const directory = join(context.places.cache, `bench-root-${key}`);
  const trees = treesIn(directory);
  const isThere = await stat(directory).then(
    () => true,
    () => false,
  );
  if (!isThere) {
    const draft = `${directory}.partial`;
    await rm(draft, { recursive: true, force: true });
    await mkdir(draft, { recursive: true });
    await makeTrees(treesIn(draft), clientPackages, context);
    await rename(draft, directory);
  }
  return trees;
}

function treesIn(directory: string): RootTrees {
  const [client, server, ltsp, ours] = ['client', 'server', 'ltsp', 'ours'].map((name) => join(directory, name));
  return { client: client ?? '', server: server ?? '', ltsp: ltsp ?? '', ours: ours ?? '' };
}

async function keyOf(packages: readonly string[]): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([version, suite, packages]));
  for (const name of treeScripts) {
    hash.update(name).update(await readFile(join(scripts, name)));
  }
  return hash.digest('hex').slice(0, 16);
}

async function makeTrees(trees: RootTrees, clientPackages: readonly string[], context: Context): Promise<void> {
  const { signal } = context;
  const hook = (stage: string): string => `--${stage}-hook='${join(scripts, 'prepare-tree.sh')}' ${stage} "$1"`;
  context.note('installing the Debian that all contenders boot; this is done once');
  await bootstrap({ tree: trees.client, arch: 'amd64', packages: clientPackages, hooks: [hook('essential'), hook('customize')] }, signal);
  context.note('installing LTSP, NFS-Ganesha and dnsmasq into a tree of their own');
  const own = process.arch === 'arm64' ? 'arm64' : 'amd64';
  await bootstrap({ tree: trees.server, arch: own, packages: serverPackages, hooks: [] }, signal);
  context.note('making the LTSP image');
  await mkdir(trees.ltsp, { recursive: true });
  await run(...containedCommand(join(scripts, 'make-ltsp.sh'), [trees.server, trees.client, trees.ltsp]), { signal });
  context.note('packing the same tree as our root');
  await makeOurs(trees, signal);
}

interface Bootstrap {
  readonly tree: string;
  readonly arch: Architecture;
  readonly packages: readonly string[];
  readonly hooks: readonly string[];
}

async function bootstrap({ tree, arch, packages, hooks }: Bootstrap, signal: AbortSignal): Promise<void> {
  const sources = await debianSources(suite);
  const excluded = ['man', 'doc', 'locale', 'info'].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`);
  const sourcesFile = `${tree}.sources.list`;
  await writeFile(sourcesFile, `${sources.join('\n')}\n`);
  const args = [`--arch=${arch}`, '--variant=minbase', '--mode=root', `--include=${packages.join(',')}`, ...hooks, ...excluded];
  const recommends = '--aptopt=APT::Install-Recommends "false"';
  const from = sources.length > 0 ? [sourcesFile] : [];
  const env = { SOURCE_DATE_EPOCH: '0' };
  await run(...containedCommand('mmdebstrap', [...args, recommends, suite, tree, ...from]), { signal, env });
}

async function makeOurs({ client, ours }: RootTrees, signal: AbortSignal): Promise<void> {
  const kernelVersion = await kernelVersionOf(client);
  const modules = join(client, 'usr/lib/modules', kernelVersion);
  await mkdir(ours, { recursive: true });
  await packRoot({ tree: client, output: join(ours, 'root.img'), modules: [modules], identity: client, signal });
  await mkdir(join(ours, 'boot'), { recursive: true });
  await copyFile(join(client, 'boot', `vmlinuz-${kernelVersion}`), join(ours, 'boot/vmlinuz'));
}

async function kernelVersionOf(client: string): Promise<string> {
  const [kernelVersion] = await readdir(join(client, 'usr/lib/modules'));
  if (kernelVersion === undefined) {
    throw new UserError('failed', `The tree in ${client} has no kernel`, { hint: 'Delete it and try again' });
  }
  return kernelVersion;
}

/** Published under the name that new nodes boot. */
export async function publishRoot(
  { client, ours }: RootTrees,
  { images, cache, work }: Pick<Places, 'images' | 'cache' | 'work'>,
  signal: AbortSignal,
): Promise<Image> {
  const version = await kernelVersionOf(client);
  const kernel = { version, modules: join(client, 'usr/lib/modules', version), initramfs: 'initramfs.img' };
  const source = { root: join(ours, 'root.img'), rootFormat: 'erofs', boot: join(ours, 'boot') } as const;
  const options = { images, cache, work, signal, onProgress: () => undefined, now: new Date() };
  const identity = { name: parseImageName(demoImage), arch: 'amd64' } as const;
  await mkdir(work, { recursive: true });
  return await assembleImage({ ...source, kernels: [kernel] }, identity, options);
}

export async function bootFilesOf(trees: RootTrees, image: string): Promise<ByContender<BootFiles>> {
  const bytes = async (file: string): Promise<number> => (await stat(file)).size;
  const tftp = join(trees.ltsp, 'tftp/ltsp');
  const kernel = await bytes(join(tftp, 'x86_64/vmlinuz'));
  const initrd = await bytes(join(tftp, 'x86_64/initrd.img'));
  const addition = await bytes(join(tftp, 'ltsp.img'));
  return {
    ours: {
      kernel,
      initramfs: await bytes(join(image, 'boot/initramfs.img')),
      root: await bytes(join(image, 'root.img')),
    },
    ltsp: { kernel, initramfs: initrd + addition, root: await bytes(join(trees.ltsp, 'srv/images/x86_64.img')) },
    // Its root is the tree itself.
    nfs: { kernel, initramfs: initrd, root: Number(await diskUsage(trees.client)) },
  };
}

async function diskUsage(directory: string): Promise<string> {
  return (await run('du', ['--summarize', '--bytes', directory])).split('\t')[0] ?? '';
}
