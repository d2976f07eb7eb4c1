import { readFile } from 'node:fs/promises';
import { parse, YAMLParseError } from 'yaml';
import { systemCode, UserError } from '../domain/errors.ts';
import { Settings } from './schema.ts';

/**
 * Reads the settings file. A missing file is an empty one unless it was named.
 * @throws UserError bad-input with the line or the key that is wrong
 */
export async function loadSettings(file: string, options: { readonly mustExist: boolean }): Promise<Settings> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT' && !options.mustExist) {
      return Settings.parse({});
    }
    throw new UserError('bad-input', `The settings file ${file} cannot be read`, {
      cause: error,
      hint: 'Check the path given with --config',
    });
  }
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    if (error instanceof YAMLParseError) {
      throw new UserError('bad-input', `${file} is not valid YAML: ${error.message}`, { cause: error });
    }
    throw error;
  }
  return checkSettings(document ?? {}, file);
}

/** @throws UserError bad-input that lists every wrong key */
export function checkSettings(document: unknown, source: string): Settings {
  const result = Settings.safeParse(document);
  if (result.success) {
    return result.data;
  }
  const lines = result.error.issues.map((issue) => `  ${issue.path.join('.') || '(top)'}: ${issue.message}`);
  throw new UserError(
    'bad-input',
    `${source} is wrong in ${lines.length === 1 ? 'one place' : `${lines.length} places`}:\n${lines.join('\n')}`,
    {
      hint: 'README.md, "Settings", shows a complete example',
    },
  );
}
