import type { Router } from 'express';
import { z } from 'zod';
import { architectures } from '../../../domain/image.ts';
import { body } from './body.ts';

export const ImageBuild = z.strictObject({
  recipe: z.string(),
  architectures: z.array(z.enum(architectures)).optional(),
  fresh: z.boolean().default(false),
});
export type ImageBuild = z.infer<typeof ImageBuild>;

export const ImageImport = z.strictObject({
  /** An absolute path on the server's machine, or an URL. */
  source: z.string().min(1),
  name: z.string(),
  architecture: z.enum(architectures).optional(),
  sha256: z.string().optional(),
  reportOnly: z.boolean().default(false),
});
export type ImageImport = z.infer<typeof ImageImport>;

/** What starts long work answers with the job. */
export interface ImageAdmin {
  readonly list: () => Promise<readonly object[]>;
  readonly build: (request: ImageBuild) => Promise<object>;
  readonly import: (request: ImageImport) => object;
}

export function addImageRoutes(api: Router, images: ImageAdmin): void {
  api.get('/images', async (_request, response) => void response.json(await images.list()));
  api.post(
    '/images/build',
    async (request, response) => void response.status(202).json(await images.build(body(ImageBuild, request.body))),
  );
  api.post('/images/import', (request, response) => void response.status(202).json(images.import(body(ImageImport, request.body))));
}
