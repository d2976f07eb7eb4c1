import type { Request, Router } from 'express';
import { z } from 'zod';
import { architectures } from '../../../domain/image.ts';
import { body } from './body.ts';

const arch = z.enum(architectures).exactOptional();

/** `arch` is for a reference that stands for a version of each architecture. */
export const ImageSelection = z.strictObject({ ref: z.string(), arch });
export type ImageSelection = z.infer<typeof ImageSelection>;

export const ImageTagging = z.strictObject({ ref: z.string(), tag: z.string(), arch });
export type ImageTagging = z.infer<typeof ImageTagging>;

export const ImageCollection = z.strictObject({ dryRun: z.boolean().default(false), keep: z.int().min(1).max(1000).default(1) });
export type ImageCollection = z.infer<typeof ImageCollection>;

/** No references: all images. */
export const ImageVerification = z.strictObject({ refs: z.array(z.string()).default([]) });
export type ImageVerification = z.infer<typeof ImageVerification>;

export const ImageComparison = z.strictObject({ from: z.string(), to: z.string(), arch });
export type ImageComparison = z.infer<typeof ImageComparison>;

/** No models: all that are of the image's architecture. */
export const ImageCheck = z.strictObject({ ref: z.string(), arch, models: z.array(z.string()).exactOptional() });
export type ImageCheck = z.infer<typeof ImageCheck>;

export interface VersionAdmin {
  readonly show: (selection: ImageSelection) => Promise<readonly object[]>;
  readonly tag: (tagging: ImageTagging) => Promise<readonly object[]>;
  readonly untag: (selection: ImageSelection) => readonly object[];
  readonly remove: (selection: ImageSelection) => Promise<object>;
  readonly collect: (request: ImageCollection) => Promise<object>;
  // These answer with a job.
  readonly verify: (request: ImageVerification) => Promise<object>;
  readonly list: (selection: ImageSelection) => Promise<object>;
  readonly diff: (request: ImageComparison) => Promise<object>;
  readonly check: (request: ImageCheck) => Promise<object>;
}

export function addVersionRoutes(api: Router, versions: VersionAdmin): void {
  api.get('/images/:ref', async (request, response) => void response.json(await versions.show(selectionOf(request))));
  api.delete('/images/:ref', async (request, response) => void response.json(await versions.remove(selectionOf(request))));
  api.post('/images/tag', async (request, response) => void response.json(await versions.tag(body(ImageTagging, request.body))));
  api.post('/images/untag', (request, response) => void response.json(versions.untag(body(ImageSelection, request.body))));
  api.post('/images/gc', async (request, response) => void response.json(await versions.collect(body(ImageCollection, request.body))));
  const startsJob = <T>(path: string, schema: z.ZodType<T>, start: (request: T) => Promise<object>): void => {
    api.post(path, async (request, response) => void response.status(202).json(await start(body(schema, request.body))));
  };
  startsJob('/images/verify', ImageVerification, versions.verify);
  startsJob('/images/contents', ImageSelection, versions.list);
  startsJob('/images/diff', ImageComparison, versions.diff);
  startsJob('/images/check', ImageCheck, versions.check);
}

function selectionOf(request: Request): ImageSelection {
  return body(ImageSelection, { ref: request.params['ref'], ...request.query });
}
