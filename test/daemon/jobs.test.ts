import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type JobRecords, Jobs } from '#src/daemon/jobs.ts';
import { UserError } from '#src/domain/errors.ts';
import type { Job } from '#src/domain/job.ts';
import { createLogger } from '#src/log/logger.ts';
import { openDatabase } from '#src/store/database.ts';
import { JobStore } from '#src/store/jobs.ts';
import { FakeClock } from '../support/fake-clock.ts';

const log = createLogger({ level: 'silent', terminal: false });

function records(): JobRecords {
  return new JobStore(openDatabase(join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db')));
}

/** Work that ends when it is told, or is cancelled. */
function held() {
  const { promise, resolve } = Promise.withResolvers<object>();
  const work = (signal: AbortSignal): Promise<object> =>
    new Promise((done, fail) => {
      void promise.then(done);
      signal.addEventListener('abort', () => fail(new UserError('cancelled', 'cancelled')));
    });
  return { work, resolve };
}

async function ended(jobs: Jobs, id: string): Promise<Job> {
  while (jobs.get(id).state === 'running') {
    await new Promise((resolve) => setImmediate(resolve));
  }
  return jobs.get(id);
}

describe('jobs side by side', () => {
  test('what touches the same is refused, with the number of the other; the rest runs', async () => {
    await using jobs = new Jobs(new FakeClock(), log);
    const first = held();
    const job = jobs.start('build a', first.work, { touches: ['image a'] });
    expect(() => jobs.start('import a', first.work, { touches: ['image a'] })).toThrow(/Job 1 \(build a\) is still running/);
    const other = jobs.start('build b', first.work, { touches: ['image b'] });
    expect(jobs.running().map(({ id }) => id)).toEqual([job.id, other.id]);
    first.resolve({ ok: true });
    expect(await ended(jobs, job.id)).toMatchObject({ state: 'done', result: { ok: true } });
    await ended(jobs, other.id);
    expect(jobs.start('import a', first.work, { touches: ['image a'] }).id).toBe('3');
  });
  test('cancelling one leaves the others', async () => {
    await using jobs = new Jobs(new FakeClock(), log);
    const one = jobs.start('one', held().work);
    const two = held();
    const other = jobs.start('two', two.work);
    jobs.cancel(one.id);
    expect(await ended(jobs, one.id)).toMatchObject({ state: 'cancelled', error: { code: 'cancelled' } });
    expect(jobs.get(other.id).state).toBe('running');
  });
  test('everybody who watches hears of progress and of the end', async () => {
    await using jobs = new Jobs(new FakeClock(), log);
    const heard: string[] = [];
    const stop = jobs.subscribe((job) => heard.push(`${job.state} ${job.phase} ${job.fraction}`));
    const job = jobs.start('one', async (_signal, onProgress) => {
      onProgress({ phase: 'half', fraction: 0.5 });
      return await Promise.resolve({});
    });
    await ended(jobs, job.id);
    stop();
    await ended(jobs, jobs.start('two', () => Promise.resolve({})).id);
    expect(heard).toEqual(['running starting 0', 'running half 0.5', 'done half 1']);
  });
  test('the time that is left follows the pace so far', async () => {
    const clock = new FakeClock();
    const jobs = new Jobs(clock, log);
    const job = jobs.start('one', async (_signal, onProgress) => {
      onProgress({ phase: 'reading', fraction: 0.25 });
      return await new Promise(() => {});
    });
    let isLater = false;
    clock.after(10_000, () => {
      isLater = true;
    });
    await clock.run(() => isLater);
    expect(jobs.get(job.id).secondsLeft).toBe(30);
  });
});

describe('jobs over a restart', () => {
  test('those that ended are remembered; what was running was stopped with the server', async () => {
    const store = records();
    const before = new Jobs(new FakeClock(), log, store);
    await ended(before, before.start('done', () => Promise.resolve({ answer: 42 })).id);
    before.start('running', held().work);
    // Killed here: nothing is disposed of.
    const after = new Jobs(new FakeClock(), log, store);
    expect(after.list()).toMatchObject([
      { id: '2', title: 'running', state: 'failed', error: { message: 'The server was stopped' } },
      { id: '1', title: 'done', state: 'done', result: { answer: 42 } },
    ]);
    expect(after.start('next', () => Promise.resolve({})).id).toBe('3');
    expect(store.list().map(({ state }) => state)).toContain('failed');
  });
  test('a stop in order says the same', async () => {
    const store = records();
    const jobs = new Jobs(new FakeClock(), log, store);
    jobs.start('running', held().work);
    await jobs[Symbol.asyncDispose]();
    expect(store.list()).toMatchObject([{ state: 'failed', error: { code: 'unavailable', message: 'The server was stopped' } }]);
  });
  test('a hundred are kept, and a result that is too long is not', async () => {
    const store = records();
    const jobs = new Jobs(new FakeClock(), log, store);
    for (let count = 0; count < 105; count += 1) {
      await ended(jobs, jobs.start('one', () => Promise.resolve({ text: 'x'.repeat(count === 104 ? 70_000 : 1) })).id);
    }
    expect(store.list().map(({ id }) => id)).toEqual(Array.from({ length: 100 }, (_, index) => String(index + 6)));
    expect(store.list().at(-1)?.result).toBeUndefined();
    expect(jobs.get('105').result).toMatchObject({ text: expect.stringMatching(/^x{70000}$/) });
  });
});
