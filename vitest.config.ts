import { defineConfig } from 'vitest/config';

const project = (name: string, include: string, testTimeout: number, isParallel: boolean) => ({
  test: {
    name,
    include: [include],
    exclude: ['test/integration/**', 'node_modules/**'].filter((pattern) => !include.startsWith(pattern.slice(0, 10))),
    testTimeout,
    hookTimeout: testTimeout,
    fileParallelism: isParallel,
  },
});

export default defineConfig({
  test: {
    projects: [
      project('unit', 'test/**/*.test.ts', 20_000, true),
      // These make name spaces, start servers and measure nothing: one after another.
      project('integration', 'test/integration/**/*.test.ts', 120_000, false),
      // `cardless test` says how many files at once.
      project('e2e', 'e2e-qemu/**/*.test.ts', 30 * 60_000, true),
    ],
  },
});
