/** The API of the operator: what the CLI speaks. Reachable on a Unix socket for root alone. */
import express, { type ErrorRequestHandler, type Express } from 'express';
import { UserError } from '../../domain/errors.ts';
import { addClaimRoutes, type ClaimAdmin } from './admin/claim-routes.ts';
import { addCommitRoutes, type CommitAdmin } from './admin/commit-routes.ts';
import { addExportRoutes, type ExportAdmin } from './admin/export-routes.ts';
import { addFleetRoutes, type FleetAdmin } from './admin/fleet-routes.ts';
import { addImageRoutes, type ImageAdmin } from './admin/image-routes.ts';
import { addJobRoutes, type JobAdmin } from './admin/job-routes.ts';
import { addNodeRoutes, type NodeAdmin } from './admin/node-routes.ts';
import { addOrderRoutes, type OrderAdmin } from './admin/order-routes.ts';
import { addOverlayRoutes, type OverlayAdmin } from './admin/overlay-routes.ts';
import { addPowerRoutes, type PowerAdmin } from './admin/power-routes.ts';
import { addSecretRoutes, type SecretAdmin } from './admin/secret-routes.ts';
import { addServiceRoutes, type ServiceAdmin } from './admin/service-routes.ts';
import { addSshRoutes, type SshAdmin } from './admin/ssh-routes.ts';
import { addVersionRoutes, type VersionAdmin } from './admin/version-routes.ts';

/** Every answer is a value that JSON can carry; every refusal a UserError. */
export interface AdminOptions {
  readonly status: () => Promise<object>;
  readonly nodes: NodeAdmin;
  readonly fleet: FleetAdmin;
  readonly orders: OrderAdmin;
  readonly power: PowerAdmin;
  readonly exports: ExportAdmin;
  readonly ssh: SshAdmin;
  readonly claims: ClaimAdmin;
  readonly secrets: SecretAdmin;
  readonly images: ImageAdmin;
  readonly versions: VersionAdmin;
  readonly commits: CommitAdmin;
  readonly overlays: OverlayAdmin;
  readonly jobs: JobAdmin;
  readonly services: ServiceAdmin;
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
  app.use(express.json({ limit: '8mb' }));
  app.use('/api/v1', api);
  api.get('/status', async (_request, response) => void response.json(await options.status()));
  addNodeRoutes(api, options.nodes);
  addFleetRoutes(api, options.fleet);
  addOrderRoutes(api, options.orders);
  addPowerRoutes(api, options.power);
  addExportRoutes(api, options.exports);
  addSshRoutes(api, options.ssh);
  addClaimRoutes(api, options.claims);
  addSecretRoutes(api, options.secrets);
  addImageRoutes(api, options.images);
  addVersionRoutes(api, options.versions);
  addCommitRoutes(api, options.commits);
  addOverlayRoutes(api, options.overlays);
  addJobRoutes(api, options.jobs);
  addServiceRoutes(api, options.services);
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
