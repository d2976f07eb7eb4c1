import type { Router } from 'express';
import { z } from 'zod';
import { body } from './body.ts';

const day = 86_400;

/** `board` is a serial number or a MAC. */
const Claim = z.strictObject({ board: z.string(), as: z.string(), replace: z.boolean().default(false), group: z.string().optional() });
const Opening = z.strictObject({
  names: z.string(),
  seconds: z.int().min(1).max(day).default(600),
  /** Also boards that have asked before. */
  waiting: z.boolean().default(false),
  group: z.string().optional(),
});
const Board = z.strictObject({ board: z.string() });

export interface ClaimAdmin {
  readonly status: () => object;
  readonly claim: (request: z.infer<typeof Claim>) => object;
  /** From now on unknown boards become these nodes, in the order in which they ask. */
  readonly open: (request: z.infer<typeof Opening>) => object;
  readonly close: () => object;
  readonly undo: () => Promise<object>;
  readonly deny: (board: string) => object;
  readonly allow: (board: string) => object;
}

export function addClaimRoutes(api: Router, claims: ClaimAdmin): void {
  api.get('/claims', (_request, response) => void response.json(claims.status()));
  api.post('/claims', (request, response) => void response.status(201).json(claims.claim(body(Claim, request.body))));
  api.post('/claims/window', (request, response) => void response.json(claims.open(body(Opening, request.body))));
  api.delete('/claims/window', (_request, response) => void response.json(claims.close()));
  api.post('/claims/undo', async (_request, response) => void response.json(await claims.undo()));
  api.post('/denied', (request, response) => void response.json(claims.deny(body(Board, request.body).board)));
  api.delete('/denied/:board', (request, response) => void response.json(claims.allow(request.params.board)));
}
