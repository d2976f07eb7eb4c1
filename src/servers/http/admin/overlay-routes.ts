import type { Router } from 'express';
import { z } from 'zod';
import { body } from './body.ts';

/** `version`: the first digits of a digest. Absent, the one that the node last booted. */
const version = z
  .string()
  .regex(/^[0-9a-f]{4,64}$/, 'must be 4 to 64 hex digits of a version')
  .optional();

export const OverlayReset = z.strictObject({ version });
export const OverlaySnapshot = z.strictObject({ version, as: z.string().optional() });
export const OverlayRestore = z.strictObject({ version, label: z.string() });
export const OverlayClone = z.strictObject({ version, to: z.string() });
export const OverlayMount = z.strictObject({ version, snapshot: z.string().optional(), directory: z.string().optional() });
export const OverlayResize = z.strictObject({ size: z.string() });
export const OverlayCarry = z.strictObject({ from: version, paths: z.array(z.string()).min(1).max(100) });
export const OverlayRemove = z.strictObject({ version, snapshot: z.string().optional(), force: z.boolean().default(false) });

export type OverlayReset = z.infer<typeof OverlayReset>;
export type OverlaySnapshot = z.infer<typeof OverlaySnapshot>;
export type OverlayRestore = z.infer<typeof OverlayRestore>;
export type OverlayClone = z.infer<typeof OverlayClone>;
export type OverlayMount = z.infer<typeof OverlayMount>;
export type OverlayResize = z.infer<typeof OverlayResize>;
export type OverlayCarry = z.infer<typeof OverlayCarry>;
export type OverlayRemove = z.infer<typeof OverlayRemove>;

/** `names` may be a range. What copies disks answers with a job. */
export interface OverlayAdmin {
  readonly list: (names?: string) => Promise<object>;
  readonly reset: (names: string, request: OverlayReset) => Promise<readonly object[]>;
  readonly snapshot: (names: string, request: OverlaySnapshot) => object;
  readonly restore: (names: string, request: OverlayRestore) => object;
  readonly clone: (from: string, request: OverlayClone) => object;
  readonly mount: (name: string, request: OverlayMount) => object;
  readonly unmount: (names: string) => Promise<readonly object[]>;
  readonly resize: (names: string, request: OverlayResize) => object;
  readonly carry: (names: string, request: OverlayCarry) => Promise<readonly object[]>;
  readonly remove: (names: string, request: OverlayRemove) => Promise<readonly object[]>;
}

export function addOverlayRoutes(api: Router, overlays: OverlayAdmin): void {
  const path = '/overlays/:names';
  api.get('/overlays', async (_request, response) => void response.json(await overlays.list()));
  api.get(path, async ({ params }, response) => void response.json(await overlays.list(params.names)));
  api.delete(path, async (request, response) => {
    response.json(await overlays.remove(request.params.names, body(OverlayRemove, request.body ?? {})));
  });
  api.post(`${path}/reset`, async (request, response) => {
    response.json(await overlays.reset(request.params.names, body(OverlayReset, request.body ?? {})));
  });
  api.post(`${path}/unmount`, async ({ params }, response) => void response.json(await overlays.unmount(params.names)));
  api.post(`${path}/carry`, async (request, response) => {
    response.json(await overlays.carry(request.params.names, body(OverlayCarry, request.body)));
  });
  api.post(`${path}/snapshot`, (request, response) => {
    response.status(202).json(overlays.snapshot(request.params.names, body(OverlaySnapshot, request.body ?? {})));
  });
  api.post(`${path}/restore`, (request, response) => {
    response.status(202).json(overlays.restore(request.params.names, body(OverlayRestore, request.body)));
  });
  api.post(`${path}/clone`, (request, response) => {
    response.status(202).json(overlays.clone(request.params.names, body(OverlayClone, request.body)));
  });
  api.post(`${path}/mount`, (request, response) => {
    response.status(202).json(overlays.mount(request.params.names, body(OverlayMount, request.body ?? {})));
  });
  api.post(`${path}/resize`, (request, response) => {
    response.status(202).json(overlays.resize(request.params.names, body(OverlayResize, request.body)));
  });
}
