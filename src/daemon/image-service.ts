/** What the operator's API does with images. */
import { join } from 'node:path';
import type { Places } from '../config/places.ts';
import { UserError } from '../domain/errors.ts';
import { type Image, parseImageName } from '../domain/image.ts';
import { buildImage } from '../images/build.ts';
import type { ImageCatalog } from '../images/catalog.ts';
import { importImage } from '../images/import/import-image.ts';
import { checkRequest } from '../images/import/obtain.ts';
import { sourceName } from '../images/import/unpack-source.ts';
import { section } from '../images/progress.ts';
import { loadRecipe } from '../images/recipe.ts';
import type { ImageAdmin, ImageBuild, ImageImport } from '../servers/http/admin/image-routes.ts';
import type { Job, Jobs } from './jobs.ts';

export interface ImageServiceOptions {
  readonly places: Places;
  readonly images: ImageCatalog;
  readonly jobs: Jobs;
}

export function createImageService(options: ImageServiceOptions): ImageAdmin {
  return {
    list: async () => (await options.images.list()).map(imageView),
    build: (request) => startBuild(request, options),
    import: (request) => startImport(request, options),
  };
}

async function startBuild(request: ImageBuild, options: ImageServiceOptions): Promise<Job> {
  const { jobs, places } = options;
  const recipe = await loadRecipe(request.recipe);
  const wanted = request.architectures ?? recipe.architectures;
  const missing = wanted.find((arch) => !recipe.architectures.includes(arch));
  if (missing !== undefined) {
    throw new UserError('bad-input', `The recipe ${recipe.name} is not for ${missing}`, {
      hint: `It is for: ${recipe.architectures.join(', ')}`,
    });
  }
  requireIdle(jobs);
  return jobs.start(`build ${recipe.name} for ${wanted.join(' and ')}`, async (signal, onProgress) => {
    const built: object[] = [];
    for (const [index, arch] of wanted.entries()) {
      const work = join(places.work, `build-${recipe.name}-${arch}`);
      const part = section(onProgress, index / wanted.length, (index + 1) / wanted.length);
      const common = { images: places.images, cache: places.cache, work, fresh: request.fresh, now: new Date() };
      built.push(imageView(await buildImage(recipe, arch, { ...common, signal, onProgress: part })));
    }
    return { images: built };
  });
}

/** One job at a time: each fills the disk and the processors that answer boards as well. @throws UserError in-use */
function requireIdle(jobs: Jobs): void {
  const [busy] = jobs.running();
  if (busy) {
    throw new UserError('in-use', `Job ${busy.id} (${busy.title}) is still running`, {
      hint: 'Wait for it, or end it with Ctrl-C where it was started',
    });
  }
}

/** Refuses at once what cannot be; the rest is the job's. */
function startImport(request: ImageImport, { jobs, places }: ImageServiceOptions): Job {
  const name = parseImageName(request.name);
  checkRequest(request.source, request.sha256);
  requireIdle(jobs);
  const { source, sha256, reportOnly } = request;
  return jobs.start(`import ${sourceName(source)} as ${name}`, async (signal, onProgress) => {
    const work = join(places.work, `import-${name}`);
    const common = { images: places.images, cache: places.cache, work, now: new Date(), signal, onProgress };
    const { report, image } = await importImage({ source, name, arch: request.architecture, sha256, reportOnly }, common);
    return { report, ...(image ? { image: imageView(image) } : {}) };
  });
}

/** For listings: totals in place of the list of files. */
function imageView({ files, ...image }: Image): object {
  const sizeOf = (matches: (path: string) => boolean): number =>
    files.filter((file) => matches(file.path)).reduce((sum, file) => sum + file.bytes, 0);
  return { ...image, rootBytes: sizeOf((path) => path === 'root.img'), bootBytes: sizeOf((path) => path.startsWith('boot/')) };
}
