/** Which kernel a file is, also a packed one. It takes long: for a thread of its own. */
import { readFileSync } from 'node:fs';
import zlib from 'node:zlib';
import { type KernelArch, readKernel, readUnpacked } from './kernel-image.ts';

/** Those of distributions have 60 MiB at most, unpacked. */
export const maxKernelBytes = 128 * 1024 ** 2;

export type IdentifiedKernel =
  | { readonly kind: 'kernel'; readonly arch: KernelArch; readonly version: string; readonly isPacked: boolean }
  | { readonly kind: 'other'; readonly reason: string };

/** @param file of `maxKernelBytes` at most */
export function identifyKernel(file: string): IdentifiedKernel {
  const bytes = readFileSync(file);
  const kernel = readKernel(bytes);
  if (kernel.kind !== 'gzip') {
    return kernel.kind === 'kernel' ? { ...kernel, isPacked: false } : kernel;
  }
  try {
    const unpacked = readUnpacked(zlib.gunzipSync(bytes.subarray(kernel.from), { maxOutputLength: maxKernelBytes }), kernel.arch);
    if (unpacked.kind === 'gzip') {
      return { kind: 'other', reason: 'it is packed twice' };
    }
    return unpacked.kind === 'kernel' ? { ...unpacked, isPacked: true } : unpacked;
  } catch {
    // Whatever zlib says about it, these bytes are no kernel.
    return { kind: 'other', reason: 'it is damaged' };
  }
}
