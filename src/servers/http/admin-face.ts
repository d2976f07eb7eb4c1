/** The API of the operator: what the CLI speaks. Reachable on a Unix socket for root alone. */
import express, { type ErrorRequestHandler, type Express } from 'express';
import { z } from 'zod';
import { UserError } from '../../domain/errors.ts';
import { overlayModes } from '../../domain/node.ts';
import { body } from './admin/body.ts';
import { addCommitRoutes, type CommitAdmin } from './admin/commit-routes.ts';
import { addImageRoutes, type ImageAdmin } from './admin/image-routes.ts';
import { addJobRoutes, type JobAdmin } from './admin/job-routes.ts';
import { addOverlayRoutes, type OverlayAdmin } from './admin/overlay-routes.ts';
import { addVersionRoutes, type VersionAdmin } from './admin/version-routes.ts';

export const NodeAdd = z.strictObject({
  /** May be a range; `serial`, `mac` and `ip` then need ranges or lists of the same length. */
  name: z.string(),
  serial: z.string().optional(),
  mac: z.string().optional(),
  ip: z.string().optional(),
  image: z.string().optional(),
  overlay: z.enum(overlayModes).optional(),
  /** Also with an image that is not there. */
  force: z.boolean().optional(),
  /** Of its data volume; null is none. */
  dataSize: z.string().nullable().optional(),
});
export type NodeAdd = z.infer<typeof NodeAdd>;

export const NodeChange = z.strictObject({
  image: z.string().optional(),
  overlay: z.enum(overlayModes).optional(),
  hold: z.boolean().optional(),
  /** Also to an image that is not there. */
  force: z.boolean().optional(),
  /** Of its data volume; null is none. */
  dataSize: z.string().nullable().optional(),
  /** Paths that the next boot copies out of the overlay of the version that the node booted last. */
  carry: z.array(z.string()).min(1).max(100).optional(),
});

const NodeRemove = z.strictObject({ withData: z.boolean().default(false) });
export type NodeChange = z.infer<typeof NodeChange>;

/** Every answer is a value that JSON can carry; every refusal a UserError. */
export interface AdminOptions {
  readonly status: () => Promise<object>;
  readonly listNodes: () => Promise<readonly object[]>;
  readonly listUnclaimed: () => readonly object[];
  readonly addNodes: (request: NodeAdd) => Promise<readonly object[]>;
  /** `names` may be a range. */
  readonly showNodes: (names: string) => Promise<readonly object[]>;
  readonly changeNodes: (names: string, change: NodeChange) => Promise<readonly object[]>;
  readonly removeNodes: (names: string, request: z.infer<typeof NodeRemove>) => Promise<readonly object[]>;
  readonly reimageNodes: (names: string) => readonly object[];
  readonly listBoots: (name: string) => readonly object[];
  readonly images: ImageAdmin;
  readonly versions: VersionAdmin;
  readonly commits: CommitAdmin;
  readonly overlays: OverlayAdmin;
  readonly jobs: JobAdmin;
  readonly onFailure: (error: unknown) => void;
}

const statusOf: Record<UserError['code'], number> = {
  'bad-input': 400,
  'not-permitted': 403,
  'not-found': 404,
  'already-exists': 409,
  'in-use': 409,
  cancelled: 409,
  unavailable: 503,
  'no-space': 507,
  failed: 500,
};

export function createAdminFace(options: AdminOptions): Express {
  const app = express();
  const api = express.Router();
  app.disable('x-powered-by');
  app.use(express.json({ limit: '1mb' }));
  app.use('/api/v1', api);
  api.get('/status', async (_request, response) => void response.json(await options.status()));
  api.get('/nodes', async (_request, response) => void response.json(await options.listNodes()));
  api.post('/nodes', async (request, response) => void response.status(201).json(await options.addNodes(body(NodeAdd, request.body))));
  api.get('/nodes/:names', async (request, response) => void response.json(await options.showNodes(request.params.names)));
  api.patch(
    '/nodes/:names',
    async (request, response) => void response.json(await options.changeNodes(request.params.names, body(NodeChange, request.body))),
  );
  api.delete('/nodes/:names', async (request, response) => {
    response.json(await options.removeNodes(request.params.names, body(NodeRemove, request.body ?? {})));
  });
  api.post('/nodes/:names/reimage', (request, response) => void response.json(options.reimageNodes(request.params.names)));
  api.get('/nodes/:name/boots', (request, response) => void response.json(options.listBoots(request.params.name)));
  api.get('/unclaimed', (_request, response) => void response.json(options.listUnclaimed()));
  addImageRoutes(api, options.images);
  addVersionRoutes(api, options.versions);
  addCommitRoutes(api, options.commits);
  addOverlayRoutes(api, options.overlays);
  addJobRoutes(api, options.jobs);
  app.use((request, _response) => {
    throw new UserError('not-found', `There is no ${request.method} ${request.path} in this API`);
  });
  const onError: ErrorRequestHandler = (error: unknown, _request, response, _next) => {
    const known = error instanceof UserError ? error : badRequest(error);
    if (!known) {
      options.onFailure(error);
    }
    const { code, message, hint } = known ?? new UserError('failed', 'The server failed to do this', { hint: 'Its log says why' });
    response.status(statusOf[code]).json({ error: { code, message, ...(hint === undefined ? {} : { hint }) } });
  };
  app.use(onError);
  return app;
}

/** What express itself refuses: bodies that are no JSON, bad percent encoding. */
function badRequest(error: unknown): UserError | undefined {
  const isClientError = error instanceof Error && 'status' in error && typeof error.status === 'number' && error.status < 500;
  return isClientError ? new UserError('bad-input', error.message, { cause: error }) : undefined;
}
