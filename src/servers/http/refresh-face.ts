/** The agent of a running node fetches what is live among its content, and tells what became of it. */
import { type Request, Router, text } from 'express';
import type { Ipv4 } from '../../domain/ipv4.ts';

export interface RefreshFaceOptions {
  /** A gzip'd tar. @throws UserError not-permitted, not-found */
  readonly archive: (key: string, peer: Ipv4, id: string) => Promise<Buffer>;
  /** @param how `applied`, or why not; what could not be done, in lines behind it */
  readonly refreshed: (key: string, peer: Ipv4, id: string, how: string) => void;
}

type WhoAsks = (request: Request) => { readonly key: string; readonly peer: Ipv4 };

export function createRefreshFace(options: RefreshFaceOptions, whoAsks: WhoAsks): Router {
  const router = Router();
  router.get('/v1/agent/refresh/:id', async (request, response) => {
    const { key, peer } = whoAsks(request);
    response.type('application/gzip').send(await options.archive(key, peer, request.params.id));
  });
  router.post('/v1/agent/refreshed/:id', text({ type: () => true, limit: '16kb' }), (request, response) => {
    const { key, peer } = whoAsks(request);
    const how = typeof request.body === 'string' ? request.body : '';
    options.refreshed(key, peer, String(request.params['id']), how.replaceAll(/[^\x20-\x7e\n]/g, ' ').trim());
    response.status(204).end();
  });
  return router;
}
