export const jobStates = ['running', 'done', 'failed', 'cancelled'] as const;

/** Long work with progress, which outlives the client that asked for it. */
export interface Job {
  /** A number that counts up, also over restarts of the server. */
  readonly id: string;
  readonly title: string;
  readonly state: (typeof jobStates)[number];
  readonly phase: string;
  /** 0 to 1. */
  readonly fraction: number;
  readonly startedAt: number;
  readonly endedAt?: number;
  readonly error?: { readonly code: string; readonly message: string; readonly hint?: string };
  readonly result?: object;
}

/** At the pace so far; undefined while nothing can be said. */
export function secondsLeft(job: Job, now: number): number | undefined {
  if (job.state !== 'running' || job.fraction < 0.02) {
    return undefined;
  }
  return Math.max(0, Math.round(((now - job.startedAt) * (1 - job.fraction)) / job.fraction / 1000));
}
