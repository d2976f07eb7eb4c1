/** The tree of an erofs image where the kernel cannot mount one. */
import { chmod, link, open, rename } from 'node:fs/promises';
import { run } from '../../process/run.ts';
import { type ErofsEntry, readErofs } from './erofs-metadata.ts';

const symlinkType = 0o120000;

/** `target` must not be there, or be empty. */
export async function extractErofs(image: string, target: string, signal: AbortSignal): Promise<void> {
  await run('fsck.erofs', [`--extract=${target}`, '--preserve', image], { signal });
  await using file = await open(image);
  await restoreLost(await readErofs(file), target, signal);
}

/**
 * fsck.erofs 1.5 leaves out what follows: hard links become copies, setuid bits go when the owner is set, and extended
 * attributes are not written at all.
 */
async function restoreLost(entries: readonly ErofsEntry[], target: string, signal: AbortSignal): Promise<void> {
  const first = new Map<number, Buffer>();
  const attributes: string[] = [];
  for (const { path, nid, mode, xattrs } of entries) {
    signal.throwIfAborted();
    const file = Buffer.concat([Buffer.from(target), Buffer.from(path, 'latin1')]);
    const other = first.get(nid);
    if (other !== undefined) {
      const made = Buffer.concat([file, Buffer.from('.linked')]);
      await link(other, made);
      await rename(made, file);
      continue;
    }
    first.set(nid, file);
    if ((mode & 0o7000) !== 0 && (mode & 0o170000) !== symlinkType) {
      await chmod(file, mode & 0o7777);
    }
    if (xattrs.size > 0) {
      attributes.push(`# file: ${octal(file)}`, ...[...xattrs].map(([name, value]) => `${octal(Buffer.from(name))}=${value}`), '');
    }
  }
  await run('setfattr', ['-h', '--restore=-'], { input: `${attributes.join('\n')}\n`, signal });
}

/** As getfattr writes names, of whatever bytes they are. */
function octal(name: Buffer): string {
  return name.toString('latin1').replaceAll(/[^ -<>-[\]-~]/g, (byte) => `\\${byte.charCodeAt(0).toString(8).padStart(3, '0')}`);
}
