import { expect, test } from 'vitest';
import { cpuSeconds, parseStat } from '#src/cli/bench/cpu-time.ts';

test('fields are counted after the last bracket of the name', () => {
  const rest = 'S 7 1 1 0 -1 4194560 1 2 3 4 150 50 20 5 20 0 1 0 100 1000 1';
  expect(parseStat(`42 (a) b) c) ${rest}`)).toEqual({ parent: 7, own: 200, ended: 25 });
  expect(parseStat('')).toBeUndefined();
});

test('processor time of this process grows with work', async () => {
  const before = await cpuSeconds(process.pid);
  for (const end = process.cpuUsage().user + 100_000; process.cpuUsage().user < end; ) {
    Math.sqrt(end);
  }
  expect(await cpuSeconds(process.pid)).toBeGreaterThan(before);
});
