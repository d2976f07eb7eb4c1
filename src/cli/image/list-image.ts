import type { Command } from 'commander';
import { withServer } from '../admin-client.ts';
import type { Context } from '../context.ts';
import { bytes, table } from '../format.ts';
import { type BrokenImageView, type ImageView, listAllImages } from './image-view.ts';

export function addImageList(image: Command, contextOf: () => Context): void {
  image
    .command('list')
    .description('all image versions, newest first, with their tags and how many nodes boot them')
    .action(async () => {
      const context = contextOf();
      const all = await withServer(context, listAllImages);
      context.print(context.json ? JSON.stringify([...all.images, ...all.broken]) : listText(all.images, all.broken));
    });
}

function listText(images: readonly ImageView[], broken: readonly BrokenImageView[]): string {
  if (images.length + broken.length === 0) {
    return 'No images yet. Build one: sudo ./cardless image build';
  }
  const rows = images.map((image) => [
    image.name,
    image.arch,
    image.digest.slice(0, 12),
    (image.tags ?? []).join(', ') || '-',
    image.kernelVersion,
    `${bytes(image.rootBytes)} ${image.rootFormat}`,
    bytes(image.bootBytes),
    image.running === undefined || image.running === 0 ? String(image.nodes ?? 0) : `${image.nodes ?? 0}, ${image.running} running`,
    image.parent?.slice(0, 12) ?? '-',
    image.createdAt.slice(0, 16),
  ]);
  const head = ['NAME', 'ARCH', 'VERSION', 'TAGS', 'KERNEL', 'ROOT', 'BOOT FILES', 'NODES', 'PARENT', 'BUILT'];
  const damaged = broken.map(
    ({ digest, broken: reason }) => `${digest.slice(0, 12)} is damaged and left out: ${reason}\n  remove it: cardless image rm ${digest}`,
  );
  return [...(rows.length > 0 ? [table(head, rows)] : []), ...damaged].join('\n');
}
