import type { Router } from 'express';
import { z } from 'zod';
import { type PowerAction, type PowerState, powerActions } from '../../../policy/power.ts';
import { body } from './body.ts';

const PowerRequest = z.strictObject({ action: z.enum(powerActions) });

export interface PowerResult {
  readonly name: string;
  readonly driver: string;
  readonly done: boolean;
  /** Of those that were asked for it. */
  readonly state?: PowerState;
  /** There when it was not done. */
  readonly reason?: string;
  readonly hint?: string;
}

export interface PowerAdmin {
  readonly act: (names: string, action: PowerAction) => Promise<readonly PowerResult[]>;
}

export function addPowerRoutes(api: Router, power: PowerAdmin): void {
  api.post('/nodes/:names/power', async (request, response) => {
    response.json(await power.act(request.params.names, body(PowerRequest, request.body).action));
  });
}
