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
  parent: z.string().exactOptional(),
  message: z.string().exactOptional(),
  /** `latest` among them. */
  tags: z.array(z.string()).exactOptional(),
  /** How many nodes boot it next, and how many run on it. */
  nodes: z.number().exactOptional(),
  running: z.number().exactOptional(),
});
export type ImageView = z.infer<typeof ImageView>;

export const BrokenImageView = z.object({ digest: z.string(), broken: z.string() });
export type BrokenImageView = z.infer<typeof BrokenImageView>;

/** Newest first. */
export async function listImages(client: AdminClient): Promise<ImageView[]> {
  return (await listAllImages(client)).images;
}

/** Those too whose manifest is damaged. */
export async function listAllImages(client: AdminClient): Promise<{ readonly images: ImageView[]; readonly broken: BrokenImageView[] }> {
  const all = z.array(z.union([ImageView, BrokenImageView])).parse(await client.call('GET', '/images'));
  return {
    images: all.flatMap((entry) => ('broken' in entry ? [] : [entry])),
    broken: all.flatMap((entry) => ('broken' in entry ? [entry] : [])),
  };
}

export function imageTable(images: readonly ImageView[]): string {
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

export const refHelp = 'name, name:tag or name:digest, for example debian-13:stable';

/** For commands that take a reference. */
export const archFlag = ['--arch <arch>', 'only this architecture, where the reference stands for several'] as const;

export function imagePath(ref: string, arch: string | undefined): string {
  return `/images/${encodeURIComponent(ref)}${arch === undefined ? '' : `?arch=${encodeURIComponent(arch)}`}`;
}

/** `debian-13:0123456789ab (arm64)` */
export function versionText(image: { readonly name: string; readonly digest: string; readonly arch: string }): string {
  return `${image.name}:${image.digest.slice(0, 12)} (${image.arch})`;
}
