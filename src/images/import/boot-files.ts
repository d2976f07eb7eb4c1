/** The boot files of an imported system: kernels with their modules, device trees, overlays, firmware. */
import { lstat, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../domain/errors.ts';
import type { Architecture } from '../../domain/image.ts';
import { run } from '../../process/run.ts';
import { initramfsFile, type KernelSource } from '../assemble.ts';
import { copyModules, moduleVersions } from '../copy-modules.ts';
import { inThread } from '../image-tasks.ts';
import { copyPlainFile, openTree, type TreeAccess } from '../tree-access.ts';
import { bytesText } from './bytes-text.ts';
import { maxKernelBytes } from './identify-kernel.ts';
import type { KernelArch } from './kernel-image.ts';
import { type PiConfig, readPiConfig } from './pi-config.ts';

const maxCandidates = 16;
/** All files of Raspberry Pi OS have 30 MB. */
const maxFirmwareBytes = 256 * 1024 ** 2;

export type ImportedKernel = KernelSource & { readonly file: string };

export interface BootFilesFound {
  /** The one that most boards boot is first. */
  readonly kernels: readonly [ImportedKernel, ...ImportedKernel[]];
  readonly skipped: readonly { readonly file: string; readonly reason: string }[];
  readonly config: PiConfig;
  /** Of cmdline.txt. */
  readonly kernelArguments: { readonly kept: readonly string[]; readonly dropped: readonly string[] };
}

export interface BootFilesOptions {
  /** The FAT partition's files, where there was one. */
  readonly fat: string | undefined;
  readonly tree: TreeAccess;
  readonly arch: Architecture;
  readonly work: string;
  /** An empty directory for the result. */
  readonly boot: string;
  readonly signal: AbortSignal;
}

/** The usual one of each architecture first. Those of Pi 1 and Zero (kernel.img) are for no board that is supported. */
const piKernels: Readonly<Record<Architecture, readonly string[]>> = {
  arm64: ['kernel8.img', 'kernel_2712.img', 'kernel7.img', 'kernel7l.img'],
  armhf: ['kernel7.img', 'kernel7l.img', 'kernel8.img', 'kernel_2712.img'],
  amd64: [],
};
/** What of the system's own kernel arguments holds without its disk. */
const harmless =
  /^(cgroup_enable|cgroup_memory|cgroup_disable|systemd\.unified_cgroup_hierarchy|swapaccount|psi|coherent_pool|cfg80211\.\w+|usb-storage\.quirks|dwc_otg\.\w+|snd_bcm2835\.\w+|vc4\.\w+)=[\w.,:-]+$/;
const firmware = /^(bootcode\.bin|start\w*\.elf|fixup\w*\.dat|bcm2[\w.+-]*\.dtb|armstub\w*\.bin|LICENCE\.broadcom|COPYING\.linux)$/;
const overlay = /^(README|[\w.+-]+\.dtb[o]?)$/;

/** A 32-bit system runs under a 64-bit kernel as well. */
const kernelsOf: Readonly<Record<Architecture, readonly KernelArch[]>> = { arm64: ['arm64'], amd64: ['amd64'], armhf: ['armhf', 'arm64'] };

/** A kernel that a board may boot: the name it gets, and where it is. */
interface Candidate {
  readonly file: string;
  readonly path: string;
  readonly folder: TreeAccess;
}

type Skipped = { readonly file: string; readonly reason: string }[];

/** @throws UserError bad-input: no kernel, none with modules, another architecture */
export async function collectBootFiles(options: BootFilesOptions): Promise<BootFilesFound> {
  const { tree } = options;
  const place = await piFolder(options);
  const config = readPiConfig((await place?.folder.read(join(place.path, 'config.txt'))) ?? '');
  const words = ((await place?.folder.read(join(place.path, 'cmdline.txt'))) ?? '').split(/\s+/).filter((word) => word !== '');
  const kernelArguments = { kept: words.filter((word) => harmless.test(word)), dropped: words.filter((word) => !harmless.test(word)) };
  const skipped: Skipped = [];
  const pi = place ? await piCandidates(place, config, options.arch) : [];
  const candidates = pi.length > 0 ? pi : await pcCandidates(tree, options.arch);
  const kernels: ImportedKernel[] = [];
  for (const candidate of candidates.slice(0, maxCandidates)) {
    const kernel = kernels.some(({ file }) => file === candidate.file) ? undefined : await pairKernel(candidate, options, skipped);
    if (kernel) {
      kernels.push({ ...kernel, initramfs: kernels.length === 0 ? initramfsFile : initramfsOf(kernel.file) });
    }
  }
  const next = candidates[maxCandidates];
  if (next) {
    skipped.push({ file: next.path, reason: `only ${maxCandidates} such files are looked at` });
  }
  const [first, ...others] = kernels;
  if (!first) {
    throw noKernel(skipped, await moduleVersions(tree), options.arch);
  }
  if (place) {
    await copyFirmware(place, options.boot);
  }
  return { kernels: [first, ...others], skipped, config, kernelArguments };
}

/** kernel_2712.img has initramfs_2712, as Raspberry Pi OS names them. */
function initramfsOf(kernel: string): string {
  return kernel.replace(/^kernel/, 'initramfs').replace(/\.img$/, '');
}

interface Folder {
  readonly folder: TreeAccess;
  readonly path: string;
}

/** Where the files are that a Pi's firmware looks for. */
async function piFolder({ fat, tree, arch }: BootFilesOptions): Promise<Folder | undefined> {
  const places: Folder[] = [
    ...(fat === undefined ? [] : [{ folder: openTree(fat), path: '' }]),
    { folder: tree, path: 'boot/firmware' },
    { folder: tree, path: 'boot' },
  ];
  for (const place of arch === 'amd64' ? [] : places) {
    const names = await place.folder.list(place.path);
    if (names.some((name) => piKernels[arch].includes(name)) || names.includes('config.txt')) {
      return place;
    }
  }
  return undefined;
}

async function piCandidates({ folder, path }: Folder, config: PiConfig, arch: Architecture): Promise<Candidate[]> {
  const usual = piKernels[arch];
  const names = await folder.list(path);
  const own = config.kernels.filter((name) => !usual.includes(name) && names.includes(name));
  return [
    ...usual.filter((name) => names.includes(name)).map((name) => ({ file: name, path: join(path, name), folder })),
    ...own.map((name) => ({ file: usual[0] ?? name, path: join(path, name), folder })),
  ];
}

/** Newest first. */
async function pcCandidates(tree: TreeAccess, arch: Architecture): Promise<Candidate[]> {
  const inBoot = (await tree.list('boot')).filter((name) => /^(vmlinu[xz]|bzImage|Image)/.test(name)).map((name) => `boot/${name}`);
  const beside = (await moduleVersions(tree)).flatMap((version) => [`usr/lib/modules/${version}/vmlinuz`]);
  const file = piKernels[arch][0] ?? 'vmlinuz';
  const newestFirst = (paths: string[]): string[] => paths.toSorted((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  return [...newestFirst(inBoot), ...newestFirst(beside)].map((path) => ({ file, path, folder: tree }));
}

async function pairKernel(
  candidate: Candidate,
  options: BootFilesOptions,
  skipped: Skipped,
): Promise<Omit<ImportedKernel, 'initramfs'> | undefined> {
  const { path, folder, file } = candidate;
  const skip = (reason: string): undefined => void skipped.push({ file: path, reason });
  const real = await folder.resolve(path);
  const stats = real === undefined ? undefined : await lstat(real);
  if (real === undefined || !stats?.isFile()) {
    // A dangling link, as /boot/vmlinuz may be one.
    return undefined;
  }
  if (stats.size > maxKernelBytes) {
    return skip(`it has ${bytesText(stats.size)}: no kernel is so long`);
  }
  const kernel = await inThread('identifyKernel', { file: real }, { signal: options.signal });
  if (kernel.kind !== 'kernel') {
    return skip(kernel.reason);
  }
  if (!kernelsOf[options.arch].includes(kernel.arch)) {
    return skip(`it is for ${kernel.arch}, the system for ${options.arch}`);
  }
  const modules = await copyModules(kernel.version, { ...options, copies: join(options.work, 'modules') });
  if (modules === undefined) {
    return skip(`its modules are missing: there is no lib/modules/${kernel.version} with modules.dep`);
  }
  await copyPlainFile(real, join(options.boot, file));
  if (options.arch === 'arm64' && !kernel.isPacked) {
    await pack(join(options.boot, file), options.signal);
  }
  return { file, version: kernel.version, modules };
}

async function copyFirmware({ folder, path }: Folder, boot: string): Promise<void> {
  let bytes = 0;
  const copy = async (from: string, names: RegExp, to: string): Promise<void> => {
    for (const name of (await folder.list(from)).filter((candidate) => names.test(candidate))) {
      const real = await folder.resolve(join(from, name));
      if (real !== undefined) {
        // Copying makes data of holes.
        bytes += (await lstat(real)).size;
        if (bytes > maxFirmwareBytes) {
          throw new UserError(
            'bad-input',
            `The firmware's files in it are too long: with ${join(from, name)} ${bytesText(bytes)} together`,
          );
        }
        await mkdir(to, { recursive: true });
        await copyPlainFile(real, join(to, name));
      }
    }
  };
  await copy(path, firmware, boot);
  await copy(join(path, 'overlays'), overlay, join(boot, 'overlays'));
}

/** Firmware unpacks a gzip'd arm64 kernel itself, and TFTP is lock-step: a third of the bytes is a third of the time. */
async function pack(file: string, signal: AbortSignal): Promise<void> {
  await run('gzip', ['-9', '-n', file], { signal });
  await rename(`${file}.gz`, file);
}

function noKernel(skipped: Skipped, modules: readonly string[], arch: Architecture): UserError {
  if (skipped.length > 0) {
    const why = skipped.map(({ file, reason }) => `/${file}: ${reason}`).join('\n');
    const have = modules.length === 0 ? 'no modules at all' : `modules for ${modules.join(', ')}`;
    return new UserError('bad-input', `No kernel in it can be used (it has ${have}):\n${why}`, {
      hint: 'Kernel and modules must be of one version; install the kernel package again in that system',
    });
  }
  return new UserError('bad-input', 'There is no kernel in it', {
    hint:
      arch === 'amd64'
        ? 'A container image has none: install a kernel package (linux-image-amd64) in it. It is looked for as /boot/vmlinuz-*'
        : 'Its boot partition or /boot must have kernel8.img, or /boot/vmlinuz-*; a container image has neither',
  });
}
