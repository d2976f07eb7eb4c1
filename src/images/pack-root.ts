import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Image } from '../domain/image.ts';
import { politeCommand, run } from '../process/run.ts';

export type RootFormat = Image['rootFormat'];

export interface PackRootOptions {
  readonly tree: string;
  readonly output: string;
  /** The modules directories of all kernels that will mount it. */
  readonly modules: readonly string[];
  /** Other content has another text. The UUID follows it, by which a client that reconnects knows its root. */
  readonly identity: string;
  /** Absent: erofs where every kernel has it, for it needs less than half of squashfs's requests for the same boot. */
  readonly format?: RootFormat;
  readonly signal: AbortSignal;
}

/** The same tree gives the same bytes. */
export async function packRoot(options: PackRootOptions): Promise<RootFormat> {
  const { tree, output, signal } = options;
  const format = options.format ?? ((await haveErofs(options.modules)) ? 'erofs' : 'squashfs');
  if (format === 'squashfs') {
    // Raspberry Pi's kernels read zstd in it since October 2024 (raspberrypi/linux, pull request 6400), zlib ever since.
    const times = ['-all-time', '0', '-mkfs-time', '0'];
    const args = [tree, output, '-comp', 'gzip', '-b', '131072', '-noappend', '-no-progress', ...times];
    await run(...politeCommand('mksquashfs', args), { signal });
    return format;
  }
  const hash = createHash('sha256').update(options.identity).digest('hex');
  const uuid = [hash.slice(0, 8), hash.slice(8, 12), hash.slice(12, 16), hash.slice(16, 20), hash.slice(20, 32)].join('-');
  await run(...politeCommand('mkfs.erofs', ['-zlz4hc', '-C65536', '-Eztailpacking', '-T0', `-U${uuid}`, output, tree]), { signal });
  return format;
}

async function haveErofs(modules: readonly string[]): Promise<boolean> {
  const lists = await Promise.all(
    modules.map(async (directory) => {
      const files = ['modules.dep', 'modules.builtin'].map((name) => readFile(join(directory, name), 'utf8'));
      return (await Promise.all(files)).join('\n');
    }),
  );
  return lists.every((list) => /\/erofs\.ko/.test(list));
}
