import type { Command } from 'commander';
import { z } from 'zod';
import { parseArchitecture } from '../../domain/image.ts';
import { type AdminClient, withServer } from '../admin-client.ts';
import { type Context, requireRoot } from '../context.ts';
import { followJob } from '../follow-job.ts';
import { ensureTools } from '../setup.ts';
import { ImageView, imageTable } from './image-view.ts';

export function addImageBuild(image: Command, contextOf: () => Context): void {
  image
    .command('build')
    .description('build an image from a recipe in rootfs/recipes; Ctrl-C cancels it')
    .argument('[recipe]', 'name of the recipe', 'debian-13')
    .option('--arch <arch...>', 'only these architectures: arm64, amd64')
    .option('--fresh', 'fetch all packages again instead of using the cached tree')
    .action(async (recipe: string, options: { arch?: string[]; fresh?: boolean }) => {
      const context = contextOf();
      requireRoot('Building an image');
      await ensureTools('build', context);
      const built = await withServer(context, (client) => buildImages(client, context, recipe, options.arch, options.fresh ?? false));
      context.print(context.json ? JSON.stringify(built) : imageTable(built));
    });
}

const Built = z.object({ images: z.array(ImageView) });

export async function buildImages(
  client: AdminClient,
  context: Context,
  recipe: string,
  arch: readonly string[] | undefined,
  fresh: boolean,
): Promise<ImageView[]> {
  const request = { recipe, fresh, ...(arch ? { architectures: arch.map(parseArchitecture) } : {}) };
  return Built.parse(await followJob(client, context, await client.call('POST', '/images/build', request))).images;
}
