import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../domain/errors.ts';
import { mortalCommand, run } from './run.ts';

/** A program that was ended in the middle may write a last file while its folder is removed. */
const attempts = 20;
const pauseMs = 50;

/**
 * For trees with content from outside: rm goes from folder to folder (openat), so that no nesting is too deep for it, where
 * Node has a whole path to everything and fails at PATH_MAX. Does not go into what is mounted there. What is not there is
 * gone already. @throws UserError failed
 */
export async function removeTree(path: string): Promise<void> {
  for (let left = attempts; ; left -= 1) {
    try {
      await run(...mortalCommand('rm', ['-rf', '--one-file-system', '--', path]));
      return;
    } catch (error) {
      if (left === 0 || !messageOf(error).includes('Directory not empty')) {
        throw error;
      }
      await sleep(pauseMs);
    }
  }
}
