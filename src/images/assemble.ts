/** The last steps of every way to an image: an initramfs for each kernel, then one directory that appears by a rename. */
import { copyFile, cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Architecture, Image, ImageLineage, ImageName } from '../domain/image.ts';
import { buildInitramfs } from './initramfs.ts';
import { ensureNodePrograms } from './node-programs.ts';
import type { RootFormat } from './pack-root.ts';
import type { OnProgress } from './progress.ts';
import { publishImage } from './publish.ts';

/** What boards and iPXE are told to fetch where an image has one kernel. */
export const initramfsFile = 'initramfs.img';

export interface KernelSource {
  /** As in `uname -r`. */
  readonly version: string;
  /** The kernel's modules directory, with modules.dep. */
  readonly modules: string;
  /** Its name among the boot files. */
  readonly initramfs: string;
  /** The kernel's own name among them; absent where boards need not choose. */
  readonly file?: string;
}

export interface ImageSource {
  /** The packed root file system. */
  readonly root: string;
  readonly rootFormat: RootFormat;
  /** A directory with all boot files but the initramfs. */
  readonly boot: string;
  /** The first one is what the image is listed with. */
  readonly kernels: readonly [KernelSource, ...KernelSource[]];
  /** Lines about hardware for config.txt. */
  readonly configTxt?: readonly string[];
  /** Files that are kept with the image, by name. */
  readonly extras?: Readonly<Record<string, string>>;
}

export interface AssembleOptions {
  readonly images: string;
  readonly cache: string;
  /** A directory of this job's own; its caller removes it. */
  readonly work: string;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
  readonly now: Date;
  readonly lineage?: ImageLineage;
}

export interface ImageIdentity {
  readonly name: ImageName;
  readonly arch: Architecture;
  readonly kernelArguments?: readonly string[];
  readonly dataVolume?: boolean;
}

export async function assembleImage(source: ImageSource, identity: ImageIdentity, options: AssembleOptions): Promise<Image> {
  const { work, signal, onProgress } = options;
  const image = join(work, 'image');
  const boot = join(image, 'boot');
  await mkdir(image, { recursive: true });
  await cp(source.boot, boot, { recursive: true });
  await copyFile(source.root, join(image, 'root.img'));
  for (const [name, file] of Object.entries(source.extras ?? {})) {
    await copyFile(file, join(image, name));
  }
  onProgress({ phase: `getting the programs of ${identity.arch} nodes`, fraction: 0 });
  const programs = await ensureNodePrograms({ cache: options.cache, arch: identity.arch, signal });
  for (const [index, kernel] of source.kernels.entries()) {
    onProgress({ phase: `building the initramfs for ${kernel.version}`, fraction: (0.6 * index) / source.kernels.length });
    const { version: kernelVersion, modules, initramfs } = kernel;
    const output = join(boot, initramfs);
    const { cache } = options;
    await buildInitramfs({ programs, modules, kernelVersion, cache, work: join(work, initramfs), output, signal });
  }
  onProgress({ phase: 'publishing', fraction: 0.6 });
  const kernels = source.kernels.flatMap(({ file, version, initramfs }) => (file === undefined ? [] : [{ file, version, initramfs }]));
  const facts = {
    ...identity,
    kernelVersion: source.kernels[0].version,
    rootFormat: source.rootFormat,
    ...(kernels.length > 0 ? { kernels } : {}),
    ...(source.configTxt && source.configTxt.length > 0 ? { configTxt: source.configTxt } : {}),
  };
  return await publishImage(image, facts, options.images, options.now, options.lineage);
}
