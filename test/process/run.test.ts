import { getPriority } from 'node:os';
import { expect, test } from 'vitest';
import { containedCommand, mortalCommand, politeCommand, run } from '#src/process/run.ts';

test.each<[string, readonly [string, readonly string[]]]>([
  ['by itself', ['no-such-program', ['--flag']]],
  ['politely', politeCommand('no-such-program', ['--flag'])],
  ['ending with us', mortalCommand(...politeCommand('no-such-program', ['--flag']))],
])('a program that is not there is named: %s', async (_how, command) => {
  await expect(run(...command)).rejects.toThrow(/^The program no-such-program is not installed$/);
});

test('a failure names the program and not what it was run with, and has its last words', async () => {
  const [file, args] = mortalCommand(...politeCommand('sh', ['-c', 'echo no; exit 3']));
  await expect(run(file, args)).rejects.toThrow(/^sh -c echo no; exit 3 failed \(exit code 3\):\nno$/);
  await expect(run(...politeCommand('sh', ['-c', 'no-such-program']))).rejects.toThrow(/^sh -c .* failed \(exit code 127\)/);
});

test('long work gives way', async () => {
  expect(await run(...politeCommand('nice', []))).toBe(String(Math.min(19, getPriority() + 10)));
  expect(containedCommand('x', []).flat()).toContain('nice');
});
