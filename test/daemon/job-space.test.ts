import { expect, test } from 'vitest';
import { JobSpace } from '#src/daemon/job-space.ts';
import { FakeClock } from '../support/fake-clock.ts';

/** Ends when it is told to, as programs do. */
function untilEnded(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  signal.addEventListener('abort', () => reject(new Error('ended')), { once: true });
  return promise;
}

function start(lowFromLook: number) {
  const clock = new FakeClock();
  let looks = 0;
  const space = {
    isLowAt: () => {
      looks += 1;
      return Promise.resolve(looks >= lowFromLook);
    },
  };
  return { clock, room: new JobSpace({ space, folder: '/', clock }), looks: () => looks };
}

test.each([1, 3])('a job ends when the reserve is reached, found at look %d', async (look) => {
  const { clock, room, looks } = start(look);
  let isOver = false;
  const job = room.whileRoom(new AbortController().signal, untilEnded).finally(() => {
    isOver = true;
  });
  const refused = expect(job).rejects.toMatchObject({ code: 'no-space', message: expect.stringContaining('kept for the nodes') });
  await clock.run(() => isOver);
  await refused;
  expect([looks(), clock.now(), clock.pending]).toEqual([look, (look - 1) * 200, 0]);
});

test('a job that is cancelled, fails or is done ends as it does, and nobody looks any more', async () => {
  const { clock, room } = start(Number.POSITIVE_INFINITY);
  const abort = new AbortController();
  const cancelled = room.whileRoom(abort.signal, untilEnded);
  abort.abort();
  await expect(cancelled).rejects.toThrow('ended');
  const { signal } = new AbortController();
  await expect(room.whileRoom(signal, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
  expect(await room.whileRoom(signal, () => Promise.resolve(7))).toBe(7);
  await clock.run(() => false, 1000);
  expect(clock.pending).toBe(0);
});
