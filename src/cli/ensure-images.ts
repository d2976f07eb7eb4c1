import type { Architecture } from '../domain/image.ts';
import { withServer } from './admin-client.ts';
import type { Context } from './context.ts';
import { buildImages } from './image/build-image.ts';
import { type ImageView, listImages } from './image/image-view.ts';

/** The image that demo and tests boot. */
export const demoImage = 'debian-13';

/** Its newest version for each architecture; built where there is none. */
export async function ensureImages(context: Context, wanted: readonly Architecture[]): Promise<ImageView[]> {
  return await withServer(context, async (client) => {
    const ours = async (): Promise<ImageView[]> => (await listImages(client)).filter((image) => image.name === demoImage);
    const there = await ours();
    const missing = wanted.filter((arch) => !there.some((image) => image.arch === arch));
    if (missing.length > 0) {
      context.note(`building ${demoImage} for ${missing.join(' and ')}; this is done once`);
      await buildImages(client, context, demoImage, missing, false);
    }
    const all = await ours();
    return wanted.flatMap((arch) => all.filter((image) => image.arch === arch).slice(0, 1));
  });
}
