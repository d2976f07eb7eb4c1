import type { Router } from 'express';
import { z } from 'zod';
import { body } from './body.ts';

/** What running nodes are asked for, by way of their agents. */
export const NodeOrder = z.discriminatedUnion('verb', [
  z.strictObject({ verb: z.literal('reboot') }),
  z.strictObject({ verb: z.literal('poweroff') }),
  z.strictObject({ verb: z.literal('blink'), seconds: z.int().min(1).max(3600) }),
]);
export type NodeOrder = z.infer<typeof NodeOrder>;

/** `reason` is there when it was not taken. */
export interface OrderResult {
  readonly name: string;
  readonly taken: boolean;
  readonly reason?: string;
}

export interface OrderAdmin {
  readonly give: (names: string, order: NodeOrder) => Promise<readonly OrderResult[]>;
}

export function addOrderRoutes(api: Router, orders: OrderAdmin): void {
  api.post('/nodes/:names/orders', async (request, response) => {
    response.json(await orders.give(request.params.names, body(NodeOrder, request.body)));
  });
}
