/** Extended attributes, which Node cannot read: by getfattr of Debian's package attr. */
import { run } from '../../process/run.ts';

/** By path as it was given, then by name; values in hex as getfattr prints them. */
export type Xattrs = ReadonlyMap<string, ReadonlyMap<string, string>>;

const dump = ['--physical', '--no-dereference', '--dump', '--match=-', '--encoding=hex', '--absolute-names'];
/** Command lines have a limit of 128 KiB for one argument and about 2 MiB for all. */
const namesAtOnce = 500;

/** Of everything below a folder, and of the folder itself. */
export async function readXattrsBelow(folder: string, signal: AbortSignal): Promise<Xattrs> {
  return parseGetfattr(await run('getfattr', [...dump, '--recursive', '--', folder], { signal }));
}

export async function readXattrs(paths: readonly string[], signal: AbortSignal): Promise<Xattrs> {
  const all = new Map<string, ReadonlyMap<string, string>>();
  for (let from = 0; from < paths.length; from += namesAtOnce) {
    const said = await run('getfattr', [...dump, '--', ...paths.slice(from, from + namesAtOnce)], { signal });
    for (const [path, values] of parseGetfattr(said)) {
      all.set(path, values);
    }
  }
  return all;
}

export function parseGetfattr(text: string): Xattrs {
  const all = new Map<string, Map<string, string>>();
  let current = new Map<string, string>();
  for (const line of text.split('\n')) {
    if (line.startsWith('# file: ')) {
      current = new Map();
      all.set(unescaped(line.slice('# file: '.length)), current);
    } else if (line !== '') {
      // An attribute without a value has no equals sign.
      const [name = '', value = ''] = line.split(/=(.*)/s);
      current.set(unescaped(name), value);
    }
  }
  return all;
}

/** Line ends, backslashes and what is not printable are written as three octal digits. */
function unescaped(name: string): string {
  if (!name.includes('\\')) {
    return name;
  }
  const bytes: number[] = [];
  const source = Buffer.from(name);
  for (let index = 0; index < source.length; index += 1) {
    const octal = source[index] === 0x5c ? /^[0-7]{3}/.exec(source.toString('latin1', index + 1, index + 4))?.[0] : undefined;
    bytes.push(octal === undefined ? (source[index] ?? 0) : Number.parseInt(octal, 8));
    index += octal === undefined ? 0 : 3;
  }
  return Buffer.from(bytes).toString();
}
