import { describe, expect, test } from 'vitest';
import { run } from '#src/process/run.ts';
import { startChild } from '#src/process/supervise.ts';

const node = process.execPath;

/** Resolves when the child has printed its first line. */
function started(code: string, graceMs: number): { child: ReturnType<typeof startChild>; ready: Promise<string> } {
  const ready = Promise.withResolvers<string>();
  const child = startChild(node, ['-e', code], { graceMs, onLine: ready.resolve });
  return { child, ready: ready.promise };
}

describe('a supervised child', () => {
  test('that ends by itself tells its exit code', async () => {
    expect(await startChild(node, ['-e', 'process.exit(3)'], { graceMs: 1000 }).ended).toEqual({ kind: 'exited', exitCode: 3 });
  });
  test('that heeds SIGTERM ends by it', async () => {
    const { child, ready } = started("console.log('up'); setInterval(() => {}, 1000)", 10_000);
    await ready;
    expect(await child.stop()).toEqual({ kind: 'signalled', signal: 'SIGTERM' });
  });
  test('that ignores SIGTERM is killed after its grace, with its own children', async () => {
    const code = `process.on('SIGTERM', () => {}); const c = require('child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']); console.log(c.pid)`;
    const { child, ready } = started(`${code}; setInterval(() => {}, 1000)`, 200);
    const grandchild = Number(await ready);
    expect(await child.stop()).toEqual({ kind: 'killed-after-grace' });
    expect(
      await run('sh', [
        '-c',
        `while [ -d /proc/${grandchild} ] && ! grep -q '^State:.Z' /proc/${grandchild}/status; do :; done; echo gone`,
      ]),
    ).toBe('gone');
  });
  test('that cannot be started says so', async () => {
    expect(await startChild('/nonexistent/program', [], { graceMs: 1000 }).ended).toMatchObject({ kind: 'spawn-failed' });
  });
  test('is stopped once, however often it is asked', async () => {
    const { child, ready } = started("console.log('up'); setInterval(() => {}, 1000)", 10_000);
    await ready;
    const [first, second] = await Promise.all([child.stop(), child.stop()]);
    expect(second).toEqual(first);
  });
});

describe('a program that is run to its end', () => {
  test('gives its output', async () => {
    expect(await run('echo', ['a  b'])).toBe('a  b');
  });
  test('that fails is an error with its last words', async () => {
    await expect(run('sh', ['-c', 'echo no luck >&2; exit 4'])).rejects.toThrow(/sh .* failed \(exit code 4\):\nno luck/);
  });
  test('that is not installed is an error with a hint', async () => {
    await expect(run('no-such-program', [])).rejects.toMatchObject({ code: 'not-found', hint: expect.stringContaining('setup') });
  });
  test('on a full disk is an error of its own kind', async () => {
    await expect(run('sh', ['-c', 'echo "write: No space left on device" >&2; exit 1'])).rejects.toMatchObject({ code: 'no-space' });
  });
  test('can be cancelled', async () => {
    const abort = new AbortController();
    const running = run('sleep', ['30'], { signal: abort.signal });
    abort.abort();
    await expect(running).rejects.toMatchObject({ code: 'cancelled' });
  });
});
