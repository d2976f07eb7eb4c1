/** Which of an image's kernels each model boots, as lines of config.txt. */
import type { Image, ImageKernel } from '../domain/image.ts';

/**
 * What firmware looks for by itself (raspberrypi/documentation, config_txt/boot.adoc), best first; 64-bit names only where
 * arm_64bit is 1, which is the default of the Pi 4 alone and all that a Pi 5 has. [pi4] holds for 400 and CM4, [pi5] for 500
 * and CM5, [pi3] for 3B+, 3A+ and CM3 as well (conditional.adoc).
 */
const models: readonly (readonly [filters: readonly string[], kernels: readonly string[]])[] = [
  [['pi0', 'pi1'], ['kernel.img']],
  [
    ['pi02', 'pi2', 'pi3'],
    ['kernel7.img', 'kernel8.img'],
  ],
  [['pi4'], ['kernel8.img', 'kernel7l.img']],
  [['pi5'], ['kernel_2712.img', 'kernel8.img']],
];

/** Of an image for ARM the kernel has the name that Pi firmware looks for; the one for arm64 is gzip'd. */
export const kernelFiles: Readonly<Record<Image['arch'], string>> = {
  amd64: 'vmlinuz',
  arm64: 'kernel8.img',
  armhf: 'kernel7.img',
};

/**
 * A section for each model, so that every board sees exactly one `initramfs` line: how firmware takes two of them differs
 * between builds. One kernel for all needs no sections.
 */
export function piKernelLines(image: Pick<Image, 'kernels' | 'arch'>): string[] {
  const kernels = image.kernels;
  const usual = kernelFiles[image.arch];
  if (!kernels || (kernels.length === 1 && kernels[0]?.file === usual)) {
    return kernelLines({ file: usual, initramfs: kernels?.[0]?.initramfs ?? 'initramfs.img' });
  }
  const sections = models.flatMap(([filters, names]) => {
    const wanted = image.arch === 'arm64' ? names.filter(is64Bit) : names;
    const kernel = wanted.map((name) => kernels.find(({ file }) => file === name)).find((found) => found !== undefined);
    return kernel ? filters.flatMap((filter) => [`[${filter}]`, ...kernelLines(kernel)]) : [];
  });
  return [...sections, '[all]'];
}

function kernelLines({ file, initramfs }: Pick<ImageKernel, 'file' | 'initramfs'>): string[] {
  return [`arm_64bit=${is64Bit(file) ? 1 : 0}`, `kernel=${file}`, `initramfs ${initramfs} followkernel`];
}

function is64Bit(name: string): boolean {
  return name === 'kernel8.img' || name === 'kernel_2712.img';
}
