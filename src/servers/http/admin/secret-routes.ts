import type { Router } from 'express';
import { z } from 'zod';
import { body } from './body.ts';

const Rotation = z.strictObject({ nodes: z.string().optional() });

/** No route answers with a secret itself. */
export interface SecretAdmin {
  readonly list: () => readonly object[];
  readonly rotate: (name: string, nodes: string | undefined) => Promise<readonly object[]>;
}

export function addSecretRoutes(api: Router, secrets: SecretAdmin): void {
  api.get('/secrets', (_request, response) => void response.json(secrets.list()));
  api.post('/secrets/:name/rotate', async (request, response) => {
    response.json(await secrets.rotate(request.params.name, body(Rotation, request.body).nodes));
  });
}
