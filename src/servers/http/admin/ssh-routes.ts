import type { Router } from 'express';
import { z } from 'zod';
import { parsePublicKey } from '../../../domain/public-key.ts';
import { body } from './body.ts';

export const SshRequest = z.strictObject({
  /** A set of nodes. */
  nodes: z.string(),
  /** Who logs in. */
  user: z.string().regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/, 'is not the name of a user'),
  /** Whose private half the caller has. */
  publicKey: z.string().transform(parsePublicKey),
  /** How long the certificate lets somebody in. */
  seconds: z.int().min(10).max(86_400),
});
export type SshRequest = z.infer<typeof SshRequest>;

/** All that an ssh client needs for these nodes. */
export interface SshAccess {
  readonly certificate: string;
  /** ssh_config(5). */
  readonly config: string;
  readonly knownHosts: string;
  readonly nodes: readonly { readonly name: string; readonly address?: string }[];
}

export interface SshAdmin {
  readonly access: (request: SshRequest) => Promise<SshAccess>;
}

export function addSshRoutes(api: Router, ssh: SshAdmin): void {
  api.post('/ssh', async (request, response) => void response.json(await ssh.access(body(SshRequest, request.body))));
}
