/** Long work that outlives the client that asked for it. */
import type { Clock } from '../domain/clock.ts';
import { messageOf, systemCode, UserError } from '../domain/errors.ts';
import type { OnProgress } from '../images/progress.ts';
import type { Logger } from '../log/logger.ts';

const keptJobs = 100;

export interface Job {
  readonly id: string;
  readonly title: string;
  readonly state: 'running' | 'done' | 'failed' | 'cancelled';
  readonly phase: string;
  /** 0 to 1. */
  readonly fraction: number;
  readonly startedAt: number;
  readonly endedAt?: number;
  readonly error?: { readonly code: string; readonly message: string; readonly hint?: string };
  readonly result?: object;
}

export type JobWork = (signal: AbortSignal, onProgress: OnProgress) => Promise<object>;

export class Jobs implements AsyncDisposable {
  // BOUNDED: at most keptJobs; the oldest that has ended is dropped.
  readonly #jobs = new Map<string, Job>();
  readonly #running = new Map<string, { readonly abort: AbortController; readonly ended: Promise<void> }>();
  readonly #clock: Clock;
  readonly #log: Logger;
  #next = 1;

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  start(title: string, work: JobWork): Job {
    const id = String(this.#next);
    this.#next += 1;
    const job: Job = { id, title, state: 'running', phase: 'starting', fraction: 0, startedAt: this.#clock.now() };
    const abort = new AbortController();
    this.#jobs.set(id, job);
    this.#running.set(id, { abort, ended: this.#run(job, work, abort.signal) });
    this.#dropOld();
    return job;
  }

  async #run(job: Job, work: JobWork, signal: AbortSignal): Promise<void> {
    this.#log.info({ job: job.id, title: job.title }, 'job started');
    try {
      const result = await work(signal, ({ phase, fraction }) => this.#change(job.id, { phase, fraction }));
      this.#change(job.id, { state: 'done', fraction: 1, result });
      this.#log.info({ job: job.id, title: job.title }, 'job done');
    } catch (error) {
      const known = asUserError(error);
      const { code, message, hint } = known;
      this.#change(job.id, {
        state: signal.aborted ? 'cancelled' : 'failed',
        error: { code, message, ...(hint === undefined ? {} : { hint }) },
      });
      this.#log.warn({ job: job.id, title: job.title, reason: message }, signal.aborted ? 'job cancelled' : 'job failed');
    } finally {
      this.#change(job.id, { endedAt: this.#clock.now() });
      this.#running.delete(job.id);
    }
  }

  /** @throws UserError not-found */
  get(id: string): Job {
    const job = this.#jobs.get(id);
    if (!job) {
      throw new UserError('not-found', `There is no job "${id}"`);
    }
    return job;
  }

  cancel(id: string): Job {
    const job = this.get(id);
    this.#running.get(id)?.abort.abort();
    return job;
  }

  running(): Job[] {
    return [...this.#jobs.values()].filter((job) => job.state === 'running');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const running = [...this.#running.values()];
    for (const { abort } of running) {
      abort.abort();
    }
    await Promise.all(running.map(({ ended }) => ended));
  }

  #change(id: string, change: Partial<Job>): void {
    const job = this.#jobs.get(id);
    if (job) {
      this.#jobs.set(id, { ...job, ...change });
    }
  }

  #dropOld(): void {
    for (const job of this.#jobs.values()) {
      if (this.#jobs.size <= keptJobs) {
        return;
      }
      if (job.state !== 'running') {
        this.#jobs.delete(job.id);
      }
    }
  }
}

/** A job's work is not ours to crash over: what it throws is told to whoever asked for it. */
function asUserError(error: unknown): UserError {
  if (error instanceof UserError && error.code !== 'no-space') {
    return error;
  }
  if (error instanceof UserError || systemCode(error) === 'ENOSPC') {
    return new UserError('no-space', `There is no space left: ${messageOf(error)}`, {
      cause: error,
      hint: 'Free some space and try again; nothing half-made was kept',
    });
  }
  return new UserError('failed', messageOf(error), { cause: error });
}
