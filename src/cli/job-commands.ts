import type { Command } from 'commander';
import { z } from 'zod';
import { messageOf, UserError } from '../domain/errors.ts';
import { type AdminClient, withServer } from './admin-client.ts';
import type { Context } from './context.ts';
import { jobEvents } from './event-stream.ts';
import { JobView } from './follow-job.ts';
import { ago, duration, progressLine, table } from './format.ts';

const idHelp = 'number of the job, as in job list';

export function addJobCommands(program: Command, contextOf: () => Context): void {
  const job = program.command('job').description('long work of the server: builds, imports, comparisons; it goes on when its client ends');

  job
    .command('list')
    .description('running jobs and those of late, newest first')
    .action(async () => {
      const context = contextOf();
      const jobs = z.array(JobView).parse(await withServer(context, (client) => client.call('GET', '/jobs')));
      context.print(context.json ? JSON.stringify(jobs) : jobTable(jobs));
    });

  job
    .command('show')
    .description('everything about a job, with its result or why it failed')
    .argument('<id>', idHelp)
    .action(async (id: string) => {
      const context = contextOf();
      const shown = JobView.parse(await withServer(context, (client) => client.call('GET', jobPath(id))));
      context.print(context.json ? JSON.stringify(shown) : jobText(shown));
    });

  job
    .command('watch')
    .description('follow a job to its end; Ctrl-C ends the watching, not the job')
    .argument('<id>', idHelp)
    .action(async (id: string) => {
      const context = contextOf();
      const ended = await withServer(context, (client) => watchJob(client, context, id));
      if (context.json) {
        context.print(JSON.stringify(ended));
      } else if (ended.state === 'running') {
        context.note(`job ${id} goes on; cardless job cancel ${id} ends it`);
      } else {
        context.print(jobText(ended));
      }
      process.exitCode = ended.state === 'failed' || ended.state === 'cancelled' ? 1 : 0;
    });

  job
    .command('cancel')
    .description('end a job; what it has half-made goes')
    .argument('<id>', idHelp)
    .action(async (id: string) => {
      const context = contextOf();
      const ended = await withServer(context, async (client) => {
        const before = JobView.parse(await client.call('GET', jobPath(id)));
        if (before.state !== 'running') {
          throw new UserError('bad-input', `Job ${id} (${before.title}) is not running: it is ${before.state}`);
        }
        await client.call('DELETE', jobPath(id));
        return await watchJob(client, context, id);
      });
      context.print(context.json ? JSON.stringify(ended) : `job ${id} (${ended.title}): ${ended.state}`);
    });
}

/** @returns the job as it ended, or as it was when the watching was stopped */
async function watchJob(client: AdminClient, context: Context, id: string): Promise<JobView> {
  let job = JobView.parse(await client.call('GET', jobPath(id)));
  if (job.state !== 'running') {
    return job;
  }
  let lastPhase = '';
  try {
    for await (const event of jobEvents(context.places.adminSocket, context.signal)) {
      const next = JobView.parse(event);
      if (next.id !== id) {
        continue;
      }
      job = next;
      if (job.state !== 'running') {
        break;
      }
      lastPhase = noteProgress(context, job, lastPhase);
    }
  } catch (error) {
    if (!context.signal.aborted) {
      throw error;
    }
  } finally {
    if (process.stderr.isTTY) {
      process.stderr.write('\r\u001b[K');
    }
  }
  if (job.state === 'running' && !context.signal.aborted) {
    throw new UserError('unavailable', `The server ended before job ${id} did`, { hint: 'cardless job list tells what became of it' });
  }
  return job;
}

/** On a terminal one line that changes; elsewhere a line for each phase. */
function noteProgress(context: Context, job: JobView, lastPhase: string): string {
  const line = progressLine(job.phase, job.fraction, Date.now() - job.startedAt);
  if (process.stderr.isTTY) {
    process.stderr.write(`\r\u001b[K${line}`);
  } else if (job.phase !== lastPhase) {
    context.note(line);
  }
  return job.phase;
}

function jobTable(jobs: readonly JobView[]): string {
  if (jobs.length === 0) {
    return 'No jobs yet.';
  }
  const rows = jobs.map((job) => [
    job.id,
    job.title,
    job.state,
    job.state === 'running' ? `${Math.round(job.fraction * 100)} %, ${job.phase}` : (job.error?.message.split('\n')[0] ?? ''),
    job.secondsLeft === undefined ? '' : duration(job.secondsLeft * 1000),
    ago(job.startedAt, Date.now()),
  ]);
  return table(['ID', 'JOB', 'STATE', 'PROGRESS', 'LEFT', 'STARTED'], rows);
}

function jobText(job: JobView): string {
  const facts: [string, string | undefined][] = [
    ['job', `${job.id}: ${job.title}`],
    ['state', job.state],
    ['started', new Date(job.startedAt).toISOString()],
    ['took', job.endedAt === undefined ? undefined : duration(job.endedAt - job.startedAt)],
    ['progress', job.state === 'running' ? `${Math.round(job.fraction * 100)} %, ${job.phase}` : undefined],
    ['left', job.secondsLeft === undefined ? undefined : duration(job.secondsLeft * 1000)],
    ['error', job.error?.message],
    ['hint', job.error?.hint],
    ['result', job.result === undefined ? undefined : shortJson(job.result)],
  ];
  return facts.flatMap(([key, value]) => (value === undefined ? [] : [`${key.padEnd(9)} ${value}`])).join('\n');
}

function shortJson(value: unknown): string {
  try {
    const text = JSON.stringify(value);
    return text.length > 2000 ? `${text.slice(0, 2000)}... (--json has all of it)` : text;
  } catch (error) {
    return messageOf(error);
  }
}

function jobPath(id: string): string {
  return `/jobs/${encodeURIComponent(id)}`;
}
