/** An image of generated boot files in the sizes of real ones: enough for a simulated board, made in a moment. */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Architecture, type Image, parseImageName } from '../../domain/image.ts';
import { publishImage } from '../../images/publish.ts';
import { type Model, models } from '../../sim/models.ts';

export const syntheticImage = 'simulated';

/** Of raspi-firmware 1.20250430 and linux-image 6.12 in Debian 13, rounded. */
const sizes = {
  'bootcode.bin': 52_500,
  'start.elf': 2_980_000,
  'fixup.dat': 7300,
  'start4.elf': 2_250_000,
  'fixup4.dat': 5500,
  'initramfs.img': 3_000_000,
} as const;
const deviceTreeBytes = 34_000;
const kernelBytes = { arm64: 13_000_000, armhf: 5_500_000, amd64: 11_000_000 } as const;
const kernelNames = { arm64: 'kernel8.img', armhf: 'kernel7.img', amd64: 'vmlinuz' } as const;
const rootBytes = 65_536;

export interface SyntheticOptions {
  readonly images: string;
  readonly work: string;
  readonly model: Model;
  /** What one board fetches in all; the kernel is made as long as that takes. */
  readonly bootBytes?: number;
}

export interface Synthetic {
  readonly image: Image;
  /** What one board of the model fetches, about. */
  readonly expectedBytes: number;
  readonly largestFileBytes: number;
}

export async function publishSyntheticImage({ images, work, model, bootBytes }: SyntheticOptions): Promise<Synthetic> {
  const { arch } = model;
  const others = fetchedBeforeKernel(model);
  const kernel = Math.max(bootBytes === undefined ? kernelBytes[arch] : bootBytes - others, 1_000_000);
  await mkdir(work, { recursive: true });
  const draft = await mkdtemp(join(work, 'draft-'));
  await mkdir(join(draft, 'boot'));
  for (const [name, size] of bootFiles(arch, kernel)) {
    await writeFile(join(draft, 'boot', name), randomBytes(size));
  }
  await writeFile(join(draft, 'root.img'), randomBytes(rootBytes));
  const facts = { name: parseImageName(syntheticImage), arch, kernelVersion: 'simulated', rootFormat: 'erofs' } as const;
  const image = await publishImage(draft, facts, images, new Date());
  return { image, expectedBytes: others + kernel, largestFileBytes: kernel };
}

function bootFiles(arch: Architecture, kernel: number): [string, number][] {
  const all: [string, number][] = [
    [kernelNames[arch], kernel],
    ['initramfs.img', sizes['initramfs.img']],
  ];
  if (arch === 'amd64') {
    return all;
  }
  const trees = new Set(models.flatMap((model) => ('deviceTree' in model ? [model.deviceTree] : [])));
  const firmware = Object.entries(sizes).filter(([name]) => name !== 'initramfs.img');
  return [...all, ...firmware, ...[...trees].map((name): [string, number] => [name, deviceTreeBytes])];
}

function fetchedBeforeKernel(model: Model): number {
  const initramfs = sizes['initramfs.img'];
  switch (model.firmware) {
    case 'pi3':
      return (model.rom ? sizes['bootcode.bin'] : 0) + sizes['start.elf'] + sizes['fixup.dat'] + deviceTreeBytes + initramfs;
    case 'eeprom':
      return (model.family === 4 ? sizes['start4.elf'] + sizes['fixup4.dat'] : 0) + deviceTreeBytes + initramfs;
    default:
      return initramfs;
  }
}
