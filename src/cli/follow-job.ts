import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { UserError, type UserErrorCode } from '../domain/errors.ts';
import type { AdminClient } from './admin-client.ts';
import type { Context } from './context.ts';
import { duration, progressLine } from './format.ts';

export const JobView = z.object({
  id: z.string(),
  title: z.string(),
  state: z.enum(['running', 'done', 'failed', 'cancelled']),
  phase: z.string(),
  fraction: z.number(),
  startedAt: z.number(),
  endedAt: z.number().optional(),
  secondsLeft: z.number().optional(),
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }).optional(),
  result: z.unknown().optional(),
});
export type JobView = z.infer<typeof JobView>;

/**
 * Shows the progress of a job that the server has started, to its end, and gives its result. Cancelling `context.signal`
 * cancels the job.
 * @throws UserError as the job threw it
 */
export async function followJob(client: AdminClient, context: Context, started: unknown): Promise<unknown> {
  let job = JobView.parse(started);
  const live = process.stderr.isTTY;
  let lastLine = '';
  let cancelSent = false;
  while (job.state === 'running') {
    if (context.signal.aborted && !cancelSent) {
      cancelSent = true;
      context.note('\ncancelling');
      await client.call('DELETE', `/jobs/${job.id}`);
    }
    const line = live ? progressLine(job.phase, job.fraction, Date.now() - job.startedAt) : job.phase;
    if (line !== lastLine) {
      lastLine = line;
      if (live) {
        process.stderr.write(`\r\u001b[K${line}`);
      } else {
        context.note(progressLine(job.phase, job.fraction, Date.now() - job.startedAt));
      }
    }
    await sleep(300);
    job = JobView.parse(await client.call('GET', `/jobs/${job.id}`));
  }
  if (live) {
    process.stderr.write('\r\u001b[K');
  }
  if (job.state !== 'done') {
    const { code, message, hint } = job.error ?? { code: 'failed', message: `${job.title} ended without a result`, hint: undefined };
    throw new UserError(code as UserErrorCode, message, hint === undefined ? {} : { hint });
  }
  context.note(`${job.title}: done in ${duration(Date.now() - job.startedAt)}`);
  return job.result;
}
