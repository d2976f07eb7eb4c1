/**
 * The agent of a running node asks for orders and waits for one. One order is to hold the disk still while it
 * is copied: the node's question `frozen` is answered when the copy is made; the agent lets go at that answer, or as
 * soon as the connection breaks.
 */
import { type Request, Router, text } from 'express';
import type { Ipv4 } from '../../domain/ipv4.ts';

export interface AgentFaceOptions {
  /** Empty when there was none for a while. @throws UserError not-permitted */
  readonly order: (key: string, peer: Ipv4) => Promise<string>;
  /** Resolves when the node may go on. `gone` fires when the node does not wait any more. @throws UserError not-found */
  readonly frozen: (key: string, peer: Ipv4, id: string, gone: AbortSignal) => Promise<void>;
  /** `how` says why it let go, or why it never held. */
  readonly thawed: (key: string, peer: Ipv4, id: string, how: string) => void;
}

type WhoAsks = (request: Request) => { readonly key: string; readonly peer: Ipv4 };

export function createAgentFace(options: AgentFaceOptions, whoAsks: WhoAsks): Router {
  const router = Router();
  router.get('/v1/agent/order', async (request, response) => {
    const { key, peer } = whoAsks(request);
    response.type('text/plain').send(await options.order(key, peer));
  });
  router.post('/v1/agent/frozen/:id', async (request, response) => {
    const { key, peer } = whoAsks(request);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    await options.frozen(key, peer, request.params.id, gone.signal);
    response.type('text/plain').send('thaw\n');
  });
  router.post('/v1/agent/thawed/:id', text({ type: () => true, limit: '1kb' }), (request, response) => {
    const { key, peer } = whoAsks(request);
    const how = typeof request.body === 'string' ? request.body : '';
    options.thawed(key, peer, String(request.params['id']), how.replaceAll(/[^\x20-\x7e]/g, ' ').trim());
    response.status(204).end();
  });
  return router;
}
