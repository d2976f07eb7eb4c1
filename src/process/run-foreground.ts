import { execa } from 'execa';
import { UserError } from '../domain/errors.ts';

/**
 * A program that has our terminal until it ends. Interrupts typed there are its own business.
 * @returns its exit code
 * @throws UserError not-found when there is no such program
 */
export async function runForeground(file: string, args: readonly string[]): Promise<number> {
  const result = await execa(file, args, { reject: false, stdio: 'inherit' });
  if (result.code === 'ENOENT') {
    throw new UserError('not-found', `The program ${file} is not installed`, { hint: 'sudo ./cardless setup installs what is missing' });
  }
  return result.exitCode ?? 1;
}
