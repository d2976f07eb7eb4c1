/** The files that a board fetches, under the names by which its firmware asks for them. */
import { copyFile, cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../domain/errors.ts';
import type { Architecture } from '../domain/image.ts';
import { politeCommand, run } from '../process/run.ts';

/** Device trees under the names that Pi firmware asks for; mainline kernels call these SoCs by another number. */
const firmwareDtbNames: Readonly<Record<string, readonly string[]>> = {
  // The 2B v1.2 has the SoC of a 3B. U-Boot gives it the tree of the first 2B too (board/raspberrypi/rpi/rpi.c).
  'bcm2836-rpi-2-b.dtb': ['bcm2709-rpi-2-b.dtb', 'bcm2710-rpi-2-b.dtb'],
  'bcm2837-rpi-3-b.dtb': ['bcm2710-rpi-3-b.dtb'],
  'bcm2837-rpi-3-b-plus.dtb': ['bcm2710-rpi-3-b-plus.dtb'],
  'bcm2837-rpi-cm3-io3.dtb': ['bcm2710-rpi-cm3.dtb'],
  'bcm2837-rpi-zero-2-w.dtb': ['bcm2710-rpi-zero-2-w.dtb'],
  // Mainline describes the module on Raspberry Pi's own carrier board.
  'bcm2711-rpi-cm4-io.dtb': ['bcm2711-rpi-cm4.dtb'],
};

/** From the parts of a built tree into the boot directory of an image. */
export async function collectBootFiles(parts: string, boot: string, arch: Architecture, signal: AbortSignal): Promise<void> {
  const kernel = join(parts, 'vmlinuz');
  switch (arch) {
    case 'amd64':
      return await copyFile(kernel, join(boot, 'vmlinuz'));
    case 'armhf':
      // Unpacks itself; firmware knows gzip only for 64-bit kernels.
      await copyFile(kernel, join(boot, 'kernel7.img'));
      break;
    case 'arm64':
      // Firmware unpacks a gzip'd kernel itself, and TFTP is lock-step: a third of the bytes is a third of the time.
      await copyFile(kernel, join(boot, 'kernel8.img'));
      await run(...politeCommand('gzip', ['-9', '-n', join(boot, 'kernel8.img')]), { signal });
      await run('mv', [join(boot, 'kernel8.img.gz'), join(boot, 'kernel8.img')]);
      break;
    default:
      arch satisfies never;
  }
  await copyPiFiles(parts, boot);
}

async function copyPiFiles(parts: string, boot: string): Promise<void> {
  if (await hasEntry(parts, 'firmware')) {
    await cp(join(parts, 'firmware'), boot, { recursive: true });
  }
  if (await hasEntry(parts, 'overlays')) {
    await cp(join(parts, 'overlays'), join(boot, 'overlays'), { recursive: true });
  }
  // A 32-bit kernel package has the trees of hundreds of other boards.
  const trees = (await entries(join(parts, 'dtbs'))).filter((name) => /^bcm2[78]\d\d.*\.dtb$/.test(name));
  for (const name of trees) {
    for (const asked of [name, ...(firmwareDtbNames[name] ?? [])]) {
      await copyFile(join(parts, 'dtbs', name), join(boot, asked));
    }
  }
}

async function hasEntry(directory: string, name: string): Promise<boolean> {
  return (await entries(directory)).includes(name);
}

async function entries(directory: string): Promise<string[]> {
  return await readdir(directory).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') {
      return [];
    }
    throw error;
  });
}
