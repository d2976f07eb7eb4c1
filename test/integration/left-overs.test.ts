import { mkdir, mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { startChild } from '#src/process/supervise.ts';
import { cardless, until } from '../support/lab-server.ts';

test('left-overs that are nested too deep for Node go at a start; those that cannot are told, and the server starts', async () => {
  await using stack = new AsyncDisposableStack();
  const state = await mkdtemp(join(tmpdir(), 'cardless-test-'));
  const mounted = join(state, 'work/mounted');
  await mkdir(mounted, { recursive: true });
  await mkdir(join(state, 'work/import-x'));
  const nest = "import os, sys\nos.chdir(sys.argv[1])\nfor _ in range(30):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)";
  await execa('python3', ['-c', nest, join(state, 'work/import-x')]);
  await execa('mount', ['-t', 'tmpfs', 'left', mounted]);
  stack.defer(async () => void (await execa('umount', [mounted])));
  const said: string[] = [];
  const args = [join(projectRoot, 'src/main.ts'), '--state', state, 'up', '--no-network'];
  const child = startChild(process.execPath, args, { graceMs: 10_000, onLine: (line) => said.push(line) });
  stack.defer(async () => void (await child.stop()));
  const lines = (): string => said.join('\n');
  await until(() => Promise.resolve(/\bready\b/.test(lines())), 'the server');
  expect(lines()).toContain('left-overs of an earlier run could not be removed');
  expect(await readdir(join(state, 'work'))).toEqual(['mounted']);

  await cardless(['--state', state, 'node', 'add', 'red[5-6]']);
  const reset = await cardless(['--state', state, 'overlay', 'reset', 'red[5-6]']);
  expect(reset).toMatchObject({ code: 1, stderr: '' });
  expect(reset.stdout).toMatch(/^red5: not done: red5 has no overlay\. .*\nred6: not done: red6 has no overlay\. /);
});
