/** One recipe file, checked; what is wrong is told with file, key and value. */
import { readFile } from 'node:fs/promises';
import { parse, YAMLParseError } from 'yaml';
import type { z } from 'zod';
import { systemCode, UserError } from '../../domain/errors.ts';
import { nearest } from '../../domain/nearest.ts';
import { knownKeys, RecipeDocument } from './schema.ts';

/** Nobody writes a larger one by hand. */
const maxBytes = 1_000_000;

/** @returns undefined when there is no such file @throws UserError bad-input that lists every wrong key */
export async function readRecipeFile(file: string): Promise<RecipeDocument | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') {
      return undefined;
    }
    throw new UserError('bad-input', `The recipe ${file} cannot be read`, { cause: error, hint: 'It must be a file in YAML' });
  }
  if (text.length > maxBytes) {
    throw new UserError('bad-input', `The recipe ${file} is ${text.length} characters long`, { hint: 'A recipe is a short text in YAML' });
  }
  return checkRecipe(parseYaml(text, file), file);
}

function parseYaml(text: string, file: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (error instanceof YAMLParseError) {
      throw new UserError('bad-input', `The recipe ${file} is not valid YAML: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

/** @throws UserError bad-input */
export function checkRecipe(document: unknown, file: string): RecipeDocument {
  const result = RecipeDocument.safeParse(document);
  if (result.success) {
    return result.data;
  }
  const lines = result.error.issues.flatMap((issue) => describe(issue, document));
  throw new UserError('bad-input', `The recipe ${file} is wrong:\n${lines.map((line) => `  ${line}`).join('\n')}`, {
    hint: 'README.md, "Images: recipes", has an example of every key',
  });
}

function describe(issue: z.core.$ZodIssue, document: unknown): string[] {
  const place = placeOf(issue.path);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const meant = nearest(key, knownKeys(issue.path));
      return `${place === '' ? '' : `${place}: `}there is no key "${key}"${meant === undefined ? '' : `; did you mean "${meant}"?`}`;
    });
  }
  const value = valueAt(document, issue.path);
  return [`${place === '' ? 'the file' : place}: ${value === undefined ? 'is missing' : withValue(show(value), issue.message)}`];
}

/** `users[0].shell` */
function placeOf(path: readonly PropertyKey[]): string {
  return path
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
    .join('')
    .replace(/^\./, '');
}

function valueAt(document: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined),
    document,
  );
}

function show(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** Our own parsers name the value themselves. */
function withValue(value: string, message: string): string {
  return message.startsWith(value) ? message : `${value}: ${message}`;
}
