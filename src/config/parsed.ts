import { z } from 'zod';
import { UserError } from '../domain/errors.ts';

/** A string that one of our parsers turns into a value; its message and hint become the issue. */
export function parsed<T>(parse: (input: string) => T): z.ZodType<T, string> {
  return z.string().transform((input, context): T => {
    try {
      return parse(input);
    } catch (error) {
      if (!(error instanceof UserError)) {
        throw error;
      }
      context.addIssue({ code: 'custom', message: error.hint === undefined ? error.message : `${error.message}. ${error.hint}` });
      return z.NEVER;
    }
  });
}
