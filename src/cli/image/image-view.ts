import { z } from 'zod';
import type { AdminClient } from '../admin-client.ts';
import { bytes, table } from '../format.ts';

export const ImageView = z.object({
  name: z.string(),
  digest: z.string(),
  arch: z.string(),
  kernelVersion: z.string(),
  rootFormat: z.string(),
  rootBytes: z.number(),
  bootBytes: z.number(),
  createdAt: z.string(),
  parent: z.string().optional(),
  message: z.string().optional(),
});
export type ImageView = z.infer<typeof ImageView>;

/** Newest first. */
export async function listImages(client: AdminClient): Promise<ImageView[]> {
  return z.array(ImageView).parse(await client.call('GET', '/images'));
}

export function imageTable(images: readonly ImageView[]): string {
  if (images.length === 0) {
    return 'No images yet. Build one: sudo ./cardless image build';
  }
  const rows = images.map((image) => [
    image.name,
    image.arch,
    image.digest.slice(0, 12),
    image.kernelVersion,
    `${bytes(image.rootBytes)} ${image.rootFormat}`,
    bytes(image.bootBytes),
    image.createdAt.slice(0, 16),
  ]);
  return table(['NAME', 'ARCH', 'VERSION', 'KERNEL', 'ROOT', 'BOOT FILES', 'BUILT'], rows);
}
