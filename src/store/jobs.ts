import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { type Job, jobStates } from '../domain/job.ts';

/** A larger result is for those who watch the job end; the record says only that it was done. */
const maxResultBytes = 65_536;

const Body = z.object({
  id: z.string(),
  title: z.string(),
  state: z.enum(jobStates),
  phase: z.string(),
  fraction: z.number(),
  startedAt: z.number(),
  endedAt: z.number().exactOptional(),
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().exactOptional() }).exactOptional(),
  result: z.record(z.string(), z.unknown()).exactOptional(),
});

/** The records of jobs. Progress is not written: after a crash nobody can go on from it. */
export class JobStore {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** Oldest first. */
  list(): Job[] {
    return this.#database
      .prepare('SELECT body FROM jobs ORDER BY id')
      .all()
      .map((row) => Body.parse(JSON.parse(String(row['body']))));
  }

  /** On disk when this returns. */
  save(job: Job): void {
    const { result, ...rest } = job;
    const text = JSON.stringify(job);
    const body = text.length > maxResultBytes && result !== undefined ? JSON.stringify(rest) : text;
    this.#database
      .prepare('INSERT INTO jobs (id, body) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body')
      .run(Number(job.id), body);
  }

  remove(id: string): void {
    this.#database.prepare('DELETE FROM jobs WHERE id = ?').run(Number(id));
  }
}
