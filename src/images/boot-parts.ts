/** What a board needs beside the root: kernel, modules, device trees and firmware, out of packages that are only unpacked. */
import { cp, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode, UserError } from '../domain/errors.ts';
import { run } from '../process/run.ts';

export interface BootPartsOptions {
  /** The .deb files that were downloaded. */
  readonly debs: string;
  readonly tree: string;
  /** Where to: vmlinuz, modules/, dtbs/, overlays/, firmware/. */
  readonly parts: string;
  readonly work: string;
  /** The kernel is a package of `debs`; else it is in the tree already. */
  readonly kernelInDebs: boolean;
  readonly signal: AbortSignal;
}

/** Puts the kernel's modules into the tree as well. @returns the kernel's version */
export async function collectBootParts(options: BootPartsOptions): Promise<string> {
  const { debs, tree, parts, work, signal } = options;
  const unpacked = join(work, 'boot-packages');
  await mkdir(unpacked);
  for (const deb of (await readdir(debs)).toSorted()) {
    await run('dpkg-deb', ['-x', join(debs, deb), unpacked], { signal });
  }
  const from = options.kernelInDebs ? unpacked : tree;
  const version = await onlyKernel(from, options.kernelInDebs);
  await cp(join(from, 'boot', `vmlinuz-${version}`), join(parts, 'vmlinuz'));
  const devices = join(from, `usr/lib/linux-image-${version}`);
  // Before Linux 6.5 the device trees of 32-bit boards lay in one folder without their makers' names.
  await copyIfThere((await hasEntry(devices, 'broadcom')) ? join(devices, 'broadcom') : devices, join(parts, 'dtbs'));
  await copyIfThere(join(devices, 'overlays'), join(parts, 'overlays'));
  await copyIfThere(join(unpacked, 'usr/lib/raspi-firmware'), join(parts, 'firmware'));
  const modules = join(tree, 'usr/lib/modules', version);
  if (options.kernelInDebs) {
    await mkdir(join(tree, 'usr/lib/modules'), { recursive: true });
    await cp(join(unpacked, 'usr/lib/modules', version), modules, { recursive: true });
  }
  await run('depmod', ['-b', join(tree, 'usr'), '-m', '/lib/modules', version], { signal }).catch(() =>
    run('depmod', ['-b', tree, version], { signal }),
  );
  await cp(modules, join(parts, 'modules'), { recursive: true });
  return version;
}

async function onlyKernel(from: string, isPackage: boolean): Promise<string> {
  const versions = (await entries(join(from, 'usr/lib/modules'))).toSorted();
  const kernels = await entries(join(from, 'boot'));
  const whole = versions.filter((version) => kernels.includes(`vmlinuz-${version}`));
  const [version] = whole;
  if (version !== undefined && whole.length === 1) {
    return version;
  }
  if (isPackage) {
    throw new UserError('failed', 'The kernel package has no kernel with modules', {
      hint: 'Under kernel, name a package with /boot/vmlinuz-VERSION; or try again with --fresh: the mirror may have been in the middle of an update',
    });
  }
  const found = whole.length === 0 ? 'no kernel' : `${whole.length} kernels (${whole.join(', ')})`;
  throw new UserError('bad-input', `With "kernel: none" the tree must have one kernel of its own; it has ${found}`, {
    hint: 'One /boot/vmlinuz-VERSION and its /usr/lib/modules/VERSION, from packages or commands of the recipe',
  });
}

async function entries(directory: string): Promise<string[]> {
  return await readdir(directory).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') {
      return [];
    }
    throw error;
  });
}

async function hasEntry(directory: string, name: string): Promise<boolean> {
  return (await entries(directory)).includes(name);
}

async function copyIfThere(from: string, to: string): Promise<void> {
  await cp(from, to, { recursive: true }).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') {
      throw error;
    }
  });
}
