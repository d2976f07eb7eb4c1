import type { Router } from 'express';
import { z } from 'zod';
import { overlayModes } from '../../../domain/node.ts';
import { body } from './body.ts';

const LabelName = z.string().regex(/^[A-Za-z0-9_./-]{1,63}$/, 'is not a label: letters, digits, dots, dashes, underscores and slashes');

export const NodeAdd = z.strictObject({
  /** May be a range; `serial`, `mac` and `ip` then need ranges or lists of the same length. */
  name: z.string(),
  serial: z.string().optional(),
  mac: z.string().optional(),
  ip: z.string().optional(),
  group: z.string().optional(),
  image: z.string().optional(),
  overlay: z.enum(overlayModes).optional(),
  /** Also with an image that is not there. */
  force: z.boolean().optional(),
  /** Of its data volume; null is none. */
  dataSize: z.string().nullable().optional(),
  /** Public keys of root. */
  keys: z.array(z.string()).optional(),
  labels: z.record(LabelName, z.string()).optional(),
  dryRun: z.boolean().default(false),
});
export type NodeAdd = z.infer<typeof NodeAdd>;

/** What `node set` can make inherited again. */
export const inheritable = ['image', 'overlay', 'overlaySize', 'dataVolume', 'authorizedKeys', 'labels'] as const;

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
  /** null takes it away, as for the address. */
  group: z.string().nullable().optional(),
  ip: z.string().nullable().optional(),
  keys: z.array(z.string()).optional(),
  /** Besides those that a node has; null takes one away. */
  labels: z.record(LabelName, z.string().nullable()).optional(),
  /** What the nodes say themselves no longer. */
  inherit: z.array(z.enum(inheritable)).optional(),
  dryRun: z.boolean().default(false),
});
export type NodeChange = z.infer<typeof NodeChange>;

export const NodeRemove = z.strictObject({ withData: z.boolean().default(false), dryRun: z.boolean().default(false) });
export type NodeRemove = z.infer<typeof NodeRemove>;

/** `names` is a set of nodes: ranges, groups, labels, expressions. */
export interface NodeAdmin {
  readonly list: (names?: string) => Promise<readonly object[]>;
  readonly listUnclaimed: () => readonly object[];
  readonly add: (request: NodeAdd) => Promise<readonly object[]>;
  readonly show: (names: string) => Promise<readonly object[]>;
  readonly change: (names: string, change: NodeChange) => Promise<readonly object[]>;
  readonly remove: (names: string, request: NodeRemove) => Promise<readonly object[]>;
  readonly reimage: (names: string) => readonly object[];
  readonly listBoots: (name: string) => readonly object[];
}

export function addNodeRoutes(api: Router, nodes: NodeAdmin): void {
  api.get('/nodes', async ({ query }, response) => {
    response.json(await nodes.list(typeof query['set'] === 'string' ? query['set'] : undefined));
  });
  api.post('/nodes', async (request, response) => void response.status(201).json(await nodes.add(body(NodeAdd, request.body))));
  api.get('/nodes/:names', async (request, response) => void response.json(await nodes.show(request.params.names)));
  api.patch('/nodes/:names', async (request, response) => {
    response.json(await nodes.change(request.params.names, body(NodeChange, request.body)));
  });
  api.delete('/nodes/:names', async (request, response) => {
    response.json(await nodes.remove(request.params.names, body(NodeRemove, request.body ?? {})));
  });
  api.post('/nodes/:names/reimage', (request, response) => void response.json(nodes.reimage(request.params.names)));
  api.get('/nodes/:name/boots', (request, response) => void response.json(nodes.listBoots(request.params.name)));
  api.get('/unclaimed', (_request, response) => void response.json(nodes.listUnclaimed()));
}
