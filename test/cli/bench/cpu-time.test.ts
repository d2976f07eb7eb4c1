import { expect, test } from 'vitest';
import { usageSeconds } from '#src/cli/bench/cpu-time.ts';

test('seconds of a cpu.stat file', () => {
  expect(usageSeconds('usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n')).toBe(1.5);
  expect(usageSeconds('nr_periods 0\n')).toBeUndefined();
});
