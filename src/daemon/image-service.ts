/** What the operator's API does with images. */
import { join } from 'node:path';
import type { Places } from '../config/places.ts';
import { UserError } from '../domain/errors.ts';
import { parseImageName } from '../domain/image.ts';
import { buildImage } from '../images/build.ts';
import { importImage } from '../images/import/import-image.ts';
import { checkRequest } from '../images/import/obtain.ts';
import { sourceName } from '../images/import/unpack-source.ts';
import { type OnProgress, section } from '../images/progress.ts';
import { loadRecipe } from '../images/recipe/load-recipe.ts';
import type { ImageAdmin, ImageBuild, ImageImport } from '../servers/http/admin/image-routes.ts';
import { type ImageVersions, imageView, lockOf } from './image-versions.ts';
import type { JobSpace } from './job-space.ts';
import type { Job, Jobs } from './jobs.ts';

export interface ImageServiceOptions {
  readonly places: Places;
  readonly versions: ImageVersions;
  readonly jobs: Jobs;
  readonly room: JobSpace;
}

export function createImageService(options: ImageServiceOptions): ImageAdmin {
  return {
    list: () => options.versions.list(),
    build: (request) => startBuild(request, options),
    import: (request) => startImport(request, options),
  };
}

async function startBuild(request: ImageBuild, options: ImageServiceOptions): Promise<Job> {
  const { jobs, places, room } = options;
  const recipe = await loadRecipe(request.recipe);
  const wanted = request.architectures ?? recipe.architectures;
  const missing = wanted.find((arch) => !recipe.architectures.includes(arch));
  if (missing !== undefined) {
    throw new UserError('bad-input', `The recipe ${recipe.name} is not for ${missing}`, {
      hint: `It is for: ${recipe.architectures.join(', ')}`,
    });
  }
  const build = async (signal: AbortSignal, onProgress: Parameters<typeof section>[0]): Promise<object> => {
    const built: object[] = [];
    for (const [index, arch] of wanted.entries()) {
      const work = join(places.work, `build-${recipe.name}-${arch}`);
      const part = section(onProgress, index / wanted.length, (index + 1) / wanted.length);
      const common = { images: places.images, cache: places.cache, work, fresh: request.fresh, now: new Date() };
      const image = await room.whileRoom(signal, (ended) => buildImage(recipe, arch, { ...common, signal: ended, onProgress: part }));
      built.push(imageView(image));
    }
    return { images: built };
  };
  return jobs.start(`build ${recipe.name} for ${wanted.join(' and ')}`, build, { touches: [lockOf(recipe.name)] });
}

/** Refuses at once what cannot be; the rest is the job's. */
function startImport(request: ImageImport, { jobs, places, room }: ImageServiceOptions): Job {
  const name = parseImageName(request.name);
  checkRequest(request.source, request.sha256);
  const { source, sha256, reportOnly } = request;
  const work = async (signal: AbortSignal, onProgress: OnProgress): Promise<object> => {
    const common = { images: places.images, cache: places.cache, work: join(places.work, `import-${name}`), now: new Date() };
    const wanted = { source, name, arch: request.architecture, sha256, reportOnly };
    const { report, image } = await room.whileRoom(signal, (ended) => importImage(wanted, { ...common, signal: ended, onProgress }));
    return { report, ...(image ? { image: imageView(image) } : {}) };
  };
  return jobs.start(`import ${sourceName(source)} as ${name}`, work, { touches: [lockOf(name)] });
}
