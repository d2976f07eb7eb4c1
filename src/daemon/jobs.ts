/** Long work that outlives the client that asked for it. */
import type { Clock } from '../domain/clock.ts';
import { messageOf, systemCode, UserError } from '../domain/errors.ts';
import { type Job, secondsLeft } from '../domain/job.ts';
import type { OnProgress } from '../images/progress.ts';
import type { Logger } from '../log/logger.ts';

export type { Job } from '../domain/job.ts';

const keptJobs = 100;
const maxRunning = 16;
/** A comparison of two systems is some megabytes. */
const keptResults = 5;
const maxListeners = 64;

export type JobWork = (signal: AbortSignal, onProgress: OnProgress) => Promise<object>;

/** Where jobs are remembered over a restart of the server. */
export interface JobRecords {
  /** Oldest first. */
  readonly list: () => readonly Job[];
  readonly save: (job: Job) => void;
  readonly remove: (id: string) => void;
}

export interface JobOptions {
  /** What it must have for itself, for example `image debian-13`: a job that touches the same is refused meanwhile. */
  readonly touches?: readonly string[];
}

export type JobView = Job & { readonly secondsLeft?: number };

const noRecords: JobRecords = { list: () => [], save: () => {}, remove: () => {} };
const serverStopped = { code: 'unavailable', message: 'The server was stopped', hint: 'Start the job again; nothing half-made was kept' };

interface Running {
  readonly abort: AbortController;
  readonly ended: Promise<void>;
  readonly touches: readonly string[];
}

export class Jobs implements AsyncDisposable {
  // BOUNDED: at most keptJobs; the oldest that has ended is dropped.
  readonly #jobs = new Map<string, Job>();
  readonly #running = new Map<string, Running>();
  // BOUNDED: at most maxListeners.
  readonly #listeners = new Set<(job: JobView) => void>();
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #records: JobRecords;
  #next = 1;
  #isStopping = false;

  constructor(clock: Clock, log: Logger, records: JobRecords = noRecords) {
    this.#clock = clock;
    this.#log = log;
    this.#records = records;
    for (const job of records.list()) {
      this.#next = Math.max(this.#next, Number(job.id) + 1);
      this.#jobs.set(job.id, job);
      if (job.state === 'running') {
        this.#save({ ...job, state: 'failed', endedAt: clock.now(), error: serverStopped });
      }
    }
    this.#dropOld();
  }

  /** @throws UserError in-use when a job is running that touches the same */
  start(title: string, work: JobWork, { touches = [] }: JobOptions = {}): Job {
    const busy = this.touching(touches);
    if (busy) {
      throw new UserError('in-use', `Job ${busy.id} (${busy.title}) is still running`, {
        hint: `Wait for it (cardless job watch ${busy.id}), or end it: cardless job cancel ${busy.id}`,
      });
    }
    if (this.#running.size >= maxRunning) {
      throw new UserError('in-use', `${maxRunning} jobs are running already`, {
        hint: 'cardless job list shows them; wait for one to end',
      });
    }
    const id = String(this.#next);
    this.#next += 1;
    const job: Job = { id, title, state: 'running', phase: 'starting', fraction: 0, startedAt: this.#clock.now() };
    const abort = new AbortController();
    this.#save(job);
    this.#running.set(id, { abort, touches, ended: this.#run(job, work, abort.signal) });
    this.#dropOld();
    return job;
  }

  /** A running job that needs one of these for itself. */
  touching(things: readonly string[]): Job | undefined {
    const [id] = [...this.#running].find(([, { touches }]) => touches.some((thing) => things.includes(thing))) ?? [];
    return id === undefined ? undefined : this.#jobs.get(id);
  }

  async #run(job: Job, work: JobWork, signal: AbortSignal): Promise<void> {
    this.#log.info({ job: job.id, title: job.title }, 'job started');
    try {
      const result = await work(signal, ({ phase, fraction }) => this.#progress(job.id, phase, fraction));
      this.#end(job.id, { state: 'done', fraction: 1, result });
      this.#log.info({ job: job.id, title: job.title }, 'job done');
    } catch (error) {
      const { code, message, hint } = asUserError(error);
      const wasCancelled = signal.aborted && !this.#isStopping;
      const why = { code, message, ...(hint === undefined ? {} : { hint }) };
      this.#end(job.id, { state: wasCancelled ? 'cancelled' : 'failed', error: this.#isStopping ? serverStopped : why });
      this.#log.warn({ job: job.id, title: job.title, reason: message }, wasCancelled ? 'job cancelled' : 'job failed');
    } finally {
      this.#running.delete(job.id);
    }
  }

  /** @throws UserError not-found */
  get(id: string): JobView {
    const job = this.#jobs.get(id);
    if (!job) {
      throw new UserError('not-found', `There is no job "${id}"`, { hint: 'cardless job list shows those of late' });
    }
    return this.#view(job);
  }

  /** Newest first, without their results. */
  list(): JobView[] {
    return [...this.#jobs.values()].map((job) => withoutResult(this.#view(job))).toReversed();
  }

  /** Its work ends in a moment; what it has half-made goes. One that has ended stays as it is. */
  cancel(id: string): JobView {
    const job = this.get(id);
    this.#running.get(id)?.abort.abort();
    return job;
  }

  running(): Job[] {
    return [...this.#jobs.values()].filter((job) => job.state === 'running');
  }

  /**
   * Calls `listener` at every change of any job, which comes without its result, until the returned function is called.
   * @throws UserError unavailable
   */
  subscribe(listener: (job: JobView) => void): () => void {
    if (this.#listeners.size >= maxListeners) {
      throw new UserError('unavailable', `${maxListeners} clients are watching already`, { hint: 'cardless job show asks once' });
    }
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopping = true;
    const running = [...this.#running.values()];
    for (const { abort } of running) {
      abort.abort();
    }
    await Promise.all(running.map(({ ended }) => ended));
  }

  #view(job: Job): JobView {
    const left = secondsLeft(job, this.#clock.now());
    return left === undefined ? job : { ...job, secondsLeft: left };
  }

  #progress(id: string, phase: string, fraction: number): void {
    const job = this.#jobs.get(id);
    if (job?.state === 'running' && (job.phase !== phase || job.fraction !== fraction)) {
      this.#put({ ...job, phase, fraction });
    }
  }

  #end(id: string, change: Partial<Job>): void {
    const job = this.#jobs.get(id);
    if (job) {
      this.#save({ ...job, ...change, endedAt: this.#clock.now() });
      this.#dropOldResults();
    }
  }

  /** On disk before anybody is told. */
  #save(job: Job): void {
    try {
      this.#records.save(job);
    } catch (error) {
      // A full disk must not keep a job from ending, nor the server from saying so.
      this.#log.error({ job: job.id, reason: messageOf(error) }, 'job could not be recorded');
    }
    this.#put(job);
  }

  #put(job: Job): void {
    this.#jobs.set(job.id, job);
    for (const listener of this.#listeners) {
      listener(withoutResult(this.#view(job)));
    }
  }

  // BOUNDED: keptResults of those that have ended in this run of the server.
  #dropOldResults(): void {
    const withResult = [...this.#jobs.values()].filter(({ result }) => result !== undefined);
    for (const job of withResult.slice(0, -keptResults)) {
      this.#jobs.set(job.id, withoutResult(job));
    }
  }

  #dropOld(): void {
    for (const job of this.#jobs.values()) {
      if (this.#jobs.size <= keptJobs) {
        return;
      }
      if (job.state !== 'running') {
        this.#jobs.delete(job.id);
        this.#records.remove(job.id);
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

function withoutResult<T extends Job>({ result: _result, ...job }: T): Omit<T, 'result'> {
  return job;
}
