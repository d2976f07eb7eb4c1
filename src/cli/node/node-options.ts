/** Options that `node add` and `node set` have in common. */
import { readFile } from 'node:fs/promises';
import { UserError } from '../../domain/errors.ts';
import { parseOverlayMode } from '../../domain/node.ts';
import { parsePublicKey } from '../../domain/public-key.ts';

/** Commander's: `--no-data` makes `data` false. */
export interface NodeOptions {
  readonly image?: string;
  readonly force?: boolean;
  readonly overlay?: string;
  readonly data?: string | boolean;
  readonly group?: string;
  readonly ip?: string;
  readonly key?: string[];
  readonly label?: string[];
  readonly dryRun?: boolean;
}

/** As the API takes them. @throws UserError bad-input */
export async function nodeRequest({ data, key, label, overlay, ...options }: NodeOptions): Promise<object> {
  return {
    ...options,
    ...(typeof data === 'string' ? { dataSize: data } : data === false ? { dataSize: null } : {}),
    ...(overlay === undefined ? {} : { overlay: parseOverlayMode(overlay) }),
    ...(key === undefined ? {} : { keys: (await Promise.all(key.map(readKeyFile))).flat() }),
    ...(label === undefined ? {} : { labels: Object.fromEntries(label.map(parseLabel)) }),
  };
}

/** @throws UserError bad-input */
export async function readKeyFile(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new UserError('bad-input', `The key file ${file} cannot be read`, { cause: error, hint: 'Give the path of a .pub file' });
  });
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  return /PRIVATE KEY/.test(text) ? [parsePublicKey(lines[0] ?? '')] : lines.map(parsePublicKey);
}

/** `rack=a`; `rack=` takes the label away. */
function parseLabel(text: string): [string, string | null] {
  const [, name = '', value = ''] = /^([^=]+)=(.*)$/.exec(text) ?? [];
  if (name === '') {
    throw new UserError('bad-input', `"${text}" is not a label`, { hint: 'For example rack=a' });
  }
  return [name, value === '' ? null : value];
}
