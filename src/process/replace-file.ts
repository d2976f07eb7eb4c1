import { randomBytes } from 'node:crypto';
import { lstat, open, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCode } from '../domain/errors.ts';
import { syncPath } from './sync-path.ts';

/**
 * Whoever reads the file sees the old text or the new one, also after a power cut. A file that was there keeps its owner and
 * mode; where a link leads there is the file; what is no file, such as a terminal, is written to.
 * @returns false when the file has that text already
 */
export async function replaceFile(path: string, text: string, mode: number): Promise<boolean> {
  const target = await orAbsent(realpath(path));
  const before = target === undefined ? undefined : await lstat(target);
  if (target !== undefined && before && !before.isFile()) {
    await writeFile(target, text);
    return true;
  }
  const place = target ?? path;
  if (before && (await readFile(place, 'utf8')) === text) {
    return false;
  }
  const partial = join(dirname(place), `.cardless-${randomBytes(6).toString('hex')}`);
  try {
    const file = await open(partial, 'wx', before?.mode ?? mode);
    try {
      await file.writeFile(text);
      await file.chmod(before ? before.mode & 0o7777 : mode);
      if (before) {
        await file.chown(before.uid, before.gid);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(partial, place);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  await syncPath(dirname(place));
  return true;
}

async function orAbsent<T>(promise: Promise<T>): Promise<T | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') {
      return undefined;
    }
    throw error;
  }
}
