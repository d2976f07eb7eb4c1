/** Output of many nodes: whole lines under their names, or equal outputs once. */
import { foldRange } from '../../domain/fold-range.ts';

const newline = 0x0a;
/** A line that is longer is told in parts. */
const maxLineBytes = 2 ** 20;

/** Bytes are never decoded. */
export class PrefixedLines {
  readonly #prefix: Buffer;
  #rest: Buffer[] = [];
  #restBytes = 0;

  constructor(prefix: string) {
    this.#prefix = Buffer.from(prefix);
  }

  /** The lines that are complete with this. */
  add(bytes: Buffer): Buffer {
    const done: Buffer[] = [];
    let from = 0;
    for (let at = bytes.indexOf(newline); at !== -1; at = bytes.indexOf(newline, from)) {
      done.push(this.#prefix, ...this.#rest, bytes.subarray(from, at + 1));
      this.#rest = [];
      this.#restBytes = 0;
      from = at + 1;
    }
    if (from < bytes.length) {
      this.#rest.push(bytes.subarray(from));
      this.#restBytes += bytes.length - from;
    }
    return Buffer.concat(this.#restBytes >= maxLineBytes ? [...done, this.end()] : done);
  }

  /** What is left, as a line. */
  end(): Buffer {
    const line = this.#restBytes === 0 ? [] : [this.#prefix, ...this.#rest, Buffer.from('\n')];
    this.#rest = [];
    this.#restBytes = 0;
    return Buffer.concat(line);
  }
}

export interface NodeOutput {
  readonly name: string;
  /** Stdout and stderr as they came. */
  readonly output: Buffer;
}

/** Equal outputs once, under the nodes that gave them; the most frequent first. */
export function collate(outputs: readonly NodeOutput[]): Buffer {
  const groups = new Map<string, { names: string[]; output: Buffer }>();
  for (const { name, output } of outputs) {
    const key = output.toString('latin1');
    const group = groups.get(key) ?? { names: [], output };
    group.names.push(name);
    groups.set(key, group);
  }
  const sorted = [...groups.values()].toSorted((a, b) => b.names.length - a.names.length);
  return Buffer.concat(
    sorted.flatMap(({ names, output }) => {
      const title = `${foldRange(names)} (${names.length})`;
      const rule = '-'.repeat(Math.min(title.length, 78));
      const isOpen = output.length > 0 && output.at(-1) !== newline;
      return [Buffer.from(`${rule}\n${title}\n${rule}\n`), output, Buffer.from(isOpen ? '\n' : '')];
    }),
  );
}
