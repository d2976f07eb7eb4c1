import type { Router } from 'express';
import { z } from 'zod';
import { body } from './body.ts';

export const ImageCommit = z.strictObject({
  node: z.string(),
  /** Of the overlay; at least six digits. Absent: that of the node's last boot. */
  digest: z.string().optional(),
  name: z.string().optional(),
  message: z.string().max(2000).optional(),
  paths: z.array(z.string()).default([]),
  exclude: z.array(z.string()).default([]),
  keepAptLists: z.boolean().default(false),
  dryRun: z.boolean().default(false),
});
export type ImageCommit = z.infer<typeof ImageCommit>;

export interface CommitAdmin {
  /** The job. */
  readonly commit: (request: ImageCommit) => Promise<object>;
}

export function addCommitRoutes(api: Router, commits: CommitAdmin): void {
  api.post(
    '/images/commit',
    async (request, response) => void response.status(202).json(await commits.commit(body(ImageCommit, request.body))),
  );
}
