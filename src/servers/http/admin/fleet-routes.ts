import type { Router } from 'express';
import { z } from 'zod';
import { body } from './body.ts';

export const FleetApply = z.strictObject({
  /** Of the file, for messages. */
  name: z.string().max(4096),
  text: z.string(),
  /** The files that it names, by the names that it gives them. */
  sources: z.record(z.string(), z.string()).default({}),
  dryRun: z.boolean().default(false),
  /** Of nodes that are there, what the file does not say stays as it is. */
  merge: z.boolean().default(false),
  /** Nodes and groups that are not in the file go, and so does what it does not say of all nodes. */
  prune: z.boolean().default(false),
  /** Also with images that are not there. */
  force: z.boolean().default(false),
  /** It is the file of the whole fleet, which an export begins with. */
  remember: z.boolean().default(true),
});
export type FleetApply = z.infer<typeof FleetApply>;

export interface FleetAdmin {
  readonly apply: (request: FleetApply) => Promise<object>;
  /** Which running nodes would be given something else at a boot now. */
  readonly pending: (names?: string) => Promise<readonly object[]>;
  /** YAML. */
  readonly export: () => string;
  readonly schema: () => object;
  readonly groups: () => readonly object[];
}

export function addFleetRoutes(api: Router, fleet: FleetAdmin): void {
  api.post('/fleet', async (request, response) => void response.json(await fleet.apply(body(FleetApply, request.body))));
  api.get('/fleet', (_request, response) => void response.json({ text: fleet.export() }));
  api.get('/fleet/schema', (_request, response) => void response.json(fleet.schema()));
  api.get('/fleet/pending', async (_request, response) => void response.json(await fleet.pending()));
  api.get('/fleet/pending/:names', async (request, response) => void response.json(await fleet.pending(request.params.names)));
  api.get('/groups', (_request, response) => void response.json(fleet.groups()));
}
