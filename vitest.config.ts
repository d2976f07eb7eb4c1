import { defineConfig } from 'vitest/config';

const outages = 'e2e-qemu/survive.test.ts';

const project = (name: string, include: string, exclude: readonly string[], testTimeout: number, isParallel: boolean) => ({
  test: {
    name,
    include: [include],
    exclude: ['node_modules/**', ...exclude],
    testTimeout,
    hookTimeout: testTimeout,
    fileParallelism: isParallel,
  },
});

export default defineConfig({
  test: {
    projects: [
      project('unit', 'test/**/*.test.ts', ['test/integration/**'], 20_000, true),
      // `cardless test` says how many files of these two at once.
      project('integration', 'test/integration/**/*.test.ts', [], 120_000, true),
      project('e2e', 'e2e-qemu/**/*.test.ts', [outages], 30 * 60_000, true),
      // Nine guests for ten minutes: alone.
      project('outages', outages, [], 30 * 60_000, false),
    ],
  },
});
