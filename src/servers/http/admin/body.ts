import { z } from 'zod';
import { UserError } from '../../../domain/errors.ts';

/** @throws UserError bad-input */
export function body<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (!result.success) {
    throw new UserError('bad-input', `The request is not understood:\n${z.prettifyError(result.error)}`);
  }
  return result.data;
}
