import { expect, test } from 'vitest';
import { runUntilTold } from '#src/process/run-until-told.ts';

const shell = (script: string): Promise<AsyncDisposable> => runUntilTold('sh', ['-c', script], 'ready');

test('goes on until it is told, and is waited for', async () => {
  const program = await shell('echo not yet; echo ready; cat; exit 0');
  await expect(program[Symbol.asyncDispose]()).resolves.toBeUndefined();
});

test('one that ends before it is ready, or fails after that, is told with what it said', async () => {
  await expect(shell('echo not today >&2; exit 1')).rejects.toThrow('not today');
  await expect(shell('exit 0')).rejects.toThrow('ended too early');
  const program = await shell('echo ready; echo lost it >&2; exit 1');
  await expect(program[Symbol.asyncDispose]()).rejects.toThrow('lost it');
});
