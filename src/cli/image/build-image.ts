import { resolve } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import { architectures, parseArchitecture } from '../../domain/image.ts';
import { type AdminClient, withServer } from '../admin-client.ts';
import { type Context, requireRoot } from '../context.ts';
import { followJob } from '../follow-job.ts';
import { ensureTools } from '../setup.ts';
import { ImageView, imageTable } from './image-view.ts';

export function addImageBuild(image: Command, contextOf: () => Context): void {
  image
    .command('build')
    .description('build an image from a recipe; Ctrl-C cancels it')
    .argument('[recipe]', 'name of a recipe in rootfs/recipes, or the path of one of your own: ./my.yaml', 'debian-13')
    .option('--arch <arch...>', `only these of the recipe's architectures: ${architectures.join(', ')}`)
    .option('--fresh', 'fetch all packages again instead of using the cached tree')
    .addHelpText('after', help)
    .action(async (recipe: string, options: { arch?: string[]; fresh?: boolean }) => {
      const context = contextOf();
      requireRoot('Building an image');
      await ensureTools('build', context);
      const built = await withServer(context, (client) => buildImages(client, context, recipe, options.arch, options.fresh ?? false));
      context.print(context.json ? JSON.stringify(built) : imageTable(built));
    });
}

const help = `
The same recipe with the same packages gives the same image, down to its digest. What was built is cached, so a second
build takes seconds; --fresh asks the Debian mirror of this machine for newer packages. README.md, "Images: recipes",
explains what may stand in a recipe.

Examples:
  cardless image build debian-docker --arch arm64
  cardless image build ./cluster/worker.yaml
  cardless image build hpc --fresh --json`;

/** A path has a slash or the ending of a recipe; the server needs it whole. */
function recipeArgument(recipe: string): string {
  return recipe.includes('/') || /\.ya?ml$/.test(recipe) ? resolve(recipe) : recipe;
}

const Built = z.object({ images: z.array(ImageView) });

export async function buildImages(
  client: AdminClient,
  context: Context,
  recipe: string,
  arch: readonly string[] | undefined,
  fresh: boolean,
): Promise<ImageView[]> {
  const request = { recipe: recipeArgument(recipe), fresh, ...(arch ? { architectures: arch.map(parseArchitecture) } : {}) };
  return Built.parse(await followJob(client, context, await client.call('POST', '/images/build', request))).images;
}
