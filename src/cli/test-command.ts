/** Runs the project's own checks: the same ones here and in CI. */
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import { projectRoot } from '../config/places.ts';
import { UserError } from '../domain/errors.ts';
import { startChild } from '../process/supervise.ts';
import { removeLeftovers } from '../sim/lab.ts';
import { type Context, requireRoot } from './context.ts';
import { ensureImages } from './ensure-images.ts';
import { ensureTools } from './setup.ts';

const VitestReport = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
  numTodoTests: z.number(),
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string(),
      assertionResults: z.array(z.object({ fullName: z.string(), status: z.string(), failureMessages: z.array(z.string()).nullish() })),
    }),
  ),
});
type VitestReport = z.infer<typeof VitestReport>;

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** One paragraph for each failure: at the end of an hour of output, what failed must not be looked for. */
  readonly failures: readonly string[];
}

/** Lines of a failure that are repeated at the end: the message and where it was. */
const failureLines = 12;

/** Test files that run side by side, where servers and guests wait for one another, timers and outages much of the time. */
const filesAtOnce = 2;

const parts = ['all', 'unit', 'integration', 'e2e'] as const;
type Part = (typeof parts)[number];

export function addTestCommand(program: Command, contextOf: () => Context): void {
  program
    .command('test')
    .description('run the checks and tests of this checkout')
    .argument('[part]', `${parts.join(', ')}; unit is the quick one and needs no root`, 'all')
    .argument('[filter]', 'only test files whose path contains this')
    .action(async (part: string, filter: string | undefined) => {
      const context = contextOf();
      const known = parts.find((name) => name === part);
      if (!known) {
        throw new UserError('bad-input', `"${part}" is not a part of the tests`, { hint: `One of: ${parts.join(', ')}` });
      }
      const counts = await runParts(known, filter, context);
      for (const failure of counts.failures) {
        context.print(`failed: ${failure}`);
      }
      context.print(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
      if (counts.failed > 0 || counts.passed === 0) {
        throw new UserError('failed', counts.passed === 0 && counts.failed === 0 ? 'No test was run' : 'Tests failed');
      }
    });
}

async function runParts(part: Part, filter: string | undefined, context: Context): Promise<Counts> {
  let counts: Counts = { passed: 0, failed: 0, skipped: 0, failures: [] };
  const add = (more: Counts): void => {
    counts = {
      passed: counts.passed + more.passed,
      failed: counts.failed + more.failed,
      skipped: counts.skipped + more.skipped,
      failures: [...counts.failures, ...more.failures],
    };
  };
  const needsRoot = part !== 'unit';
  if (needsRoot) {
    requireRoot('Tests that make networks and virtual machines');
    await ensureTools('test', context);
  }
  if ((part === 'all' || part === 'unit') && filter === undefined) {
    add(await check('format and lint', 'biome', ['ci', '--colors=off', '.'], context));
    add(await check('types', 'tsc', ['--noEmit'], context));
  }
  for (const project of ['unit', 'integration', 'e2e'] as const) {
    if (part === 'all' || part === project) {
      if (project === 'e2e') {
        await ensureImages(context, ['arm64', 'amd64']);
      }
      add(await vitest(project, filter, context));
    }
  }
  if (part === 'e2e') {
    add(await vitest('outages', filter, context));
  } else if (part === 'all' && filter === undefined) {
    context.print('skipped: outages of a quarter of an hour, which would make this over an hour; cardless test e2e survive runs them');
    add({ passed: 0, failed: 0, skipped: 1, failures: [] });
  }
  return counts;
}

/** A tool that passes or fails as a whole counts as one test. */
async function check(title: string, tool: string, args: readonly string[], context: Context): Promise<Counts> {
  const lines: string[] = [];
  const code = await runTool(tool, args, context, (line) => lines.push(line));
  context.print(`${code === 0 ? 'ok' : 'FAILED'}: ${title}`);
  if (code !== 0) {
    context.print(lines.join('\n'));
  }
  return code === 0 ? { passed: 1, failed: 0, skipped: 0, failures: [] } : { passed: 0, failed: 1, skipped: 0, failures: [title] };
}

async function vitest(project: string, filter: string | undefined, context: Context): Promise<Counts> {
  const output = join(context.places.state, 'test', `${project}.json`);
  await mkdir(join(context.places.state, 'test'), { recursive: true });
  await rm(output, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${output}`];
  const only = filter === undefined ? [] : [filter, '--passWithNoTests'];
  const workers = project === 'unit' ? [] : [`--maxWorkers=${filesAtOnce}`];
  const code = await runTool('vitest', ['run', '--project', project, ...reporters, ...workers, ...only], context, context.print);
  const text = await readFile(output, 'utf8').catch(() => undefined);
  if (text === undefined) {
    return { passed: 0, failed: code === 0 ? 0 : 1, skipped: 0, failures: code === 0 ? [] : [`${project}: no report`] };
  }
  const report = VitestReport.parse(JSON.parse(text));
  // A file that could not even be loaded has no tests of its own to count.
  const broken = report.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0);
  for (const file of report.testResults) {
    for (const skipped of file.assertionResults.filter((test) => test.status !== 'passed' && test.status !== 'failed')) {
      context.print(`skipped: ${skipped.fullName}`);
    }
  }
  const failed = report.numFailedTests + broken.length;
  return {
    passed: report.numPassedTests,
    failed: failed === 0 && code !== 0 ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
    failures: failuresOf(report),
  };
}

function failuresOf(report: VitestReport): string[] {
  return report.testResults.flatMap((file) => {
    const tests = file.assertionResults.filter(({ status }) => status === 'failed');
    const told = tests.map(({ fullName, failureMessages }) => ({ what: ` > ${fullName}`, message: (failureMessages ?? []).join('\n') }));
    const all = told.length === 0 && file.status === 'failed' ? [{ what: '', message: file.message }] : told;
    return all.map(({ what, message }) => {
      const lines = message.split('\n').slice(0, failureLines);
      return [`${relative(projectRoot, file.name)}${what}`, ...lines.map((line) => `  ${line}`)].join('\n');
    });
  });
}

async function runTool(tool: string, args: readonly string[], context: Context, onLine: (line: string) => void): Promise<number> {
  await using child = startChild(join(projectRoot, 'node_modules/.bin', tool), args, { graceMs: 30_000, cwd: projectRoot, onLine });
  const stop = (): void => void child.stop();
  context.signal.addEventListener('abort', stop);
  try {
    const outcome = await child.ended;
    if (context.signal.aborted) {
      // Guests and servers in name spaces outlive the process that tested them.
      await removeLeftovers();
      throw new UserError('cancelled', 'cancelled');
    }
    return outcome.kind === 'exited' ? outcome.exitCode : 1;
  } finally {
    context.signal.removeEventListener('abort', stop);
  }
}
