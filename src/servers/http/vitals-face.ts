/** The agent of a running node tells how the node does. Root on a node can say anything here. */
import { json, type Request, Router } from 'express';
import { z } from 'zod';
import { UserError } from '../../domain/errors.ts';
import type { Ipv4 } from '../../domain/ipv4.ts';
import type { Vitals } from '../../domain/vitals.ts';

/** With 256 cores and 16 interfaces it is a quarter of this. */
const maxBytes = 16_384;
const maxCores = 1024;
const maxInterfaces = 16;

export interface VitalsFaceOptions {
  /** @throws UserError not-permitted */
  readonly report: (key: string, peer: Ipv4, vitals: Vitals) => void;
}

/** Whole, and as JavaScript can hold it: counters of bytes stay below this for a thousand years. */
const Count = z.int().min(0);
const Load = z.number().min(0).max(1_000_000);
const Percent = z.number().min(0).max(100);
const DiskUse = z.object({ usedBytes: Count, availableBytes: Count });
const NetworkUse = z.object({ receivedBytes: Count, receivedPackets: Count, sentBytes: Count, sentPackets: Count });
const InterfaceName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:@-]{0,31}$/);

/** Keys that are not known are dropped: an agent may be of another version than its server. */
const Report = z.object({
  hostname: z
    .string()
    .regex(/^[A-Za-z0-9._-]{0,253}$/)
    .optional(),
  uptimeSeconds: Count.optional(),
  load: z.tuple([Load, Load, Load]).optional(),
  cpu: z.array(Percent.nullable()).max(maxCores).optional(),
  memory: z.object({ totalBytes: Count, availableBytes: Count }).optional(),
  frequencyMHz: z.number().min(0).max(100_000).optional(),
  temperatureCelsius: z.number().min(-273).max(1000).optional(),
  throttled: z.object({ from: z.enum(['firmware', 'hwmon']), bits: z.int().min(0).max(0xffff_ffff) }).optional(),
  disks: z.object({ root: DiskUse.optional(), overlay: DiskUse.optional(), data: DiskUse.optional() }).optional(),
  network: z
    .record(InterfaceName, NetworkUse)
    .refine((all) => Object.keys(all).length <= maxInterfaces)
    .optional(),
});

/** @throws UserError bad-input */
export function readVitals(body: unknown): Vitals {
  const result = Report.safeParse(body);
  if (!result.success) {
    throw new UserError('bad-input', 'These are no vitals');
  }
  return result.data;
}

type WhoAsks = (request: Request) => { readonly key: string; readonly peer: Ipv4 };

export function createVitalsFace(options: VitalsFaceOptions, whoAsks: WhoAsks): Router {
  const router = Router();
  router.post('/v1/agent/vitals', json({ type: () => true, limit: maxBytes, inflate: false }), (request, response) => {
    const { key, peer } = whoAsks(request);
    options.report(key, peer, readVitals(request.body));
    response.status(204).end();
  });
  return router;
}
