/** Imports in this process, and what must hold after those that fail. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { findPlaces } from '#src/config/places.ts';
import { UserError } from '#src/domain/errors.ts';
import { parseImageName } from '#src/domain/image.ts';
import type { AssembleOptions } from '#src/images/assemble.ts';
import { type Imported, type ImportRequest, importImage } from '#src/images/import/import-image.ts';
import { must, scratch } from './pi-card.ts';

type Wanted = Partial<Omit<ImportRequest, 'source'>> & { readonly state?: string };

export function assembleOptions(state: string): AssembleOptions {
  return {
    images: join(state, 'images'),
    cache: findPlaces({ env: process.env }).cache,
    work: join(state, 'work/import'),
    signal: new AbortController().signal,
    onProgress: () => {},
    now: new Date(0),
  };
}

/** Only a report, unless something else is wanted. */
export async function importing(source: string, wanted: Wanted = {}): Promise<Imported & { readonly state: string }> {
  const state = wanted.state ?? (await scratch('import'));
  await mkdir(join(state, 'work'), { recursive: true });
  const { state: _, ...rest } = wanted;
  const request = { source, name: parseImageName('test'), arch: undefined, sha256: undefined, reportOnly: true, ...rest };
  return { ...(await importImage(request, assembleOptions(state))), state };
}

/** The error; after it there is no image, no half-made thing and no loop device. */
export async function refusal(source: string, wanted: Wanted = {}): Promise<string> {
  const state = wanted.state ?? (await scratch('refused'));
  try {
    await importing(source, { reportOnly: false, ...wanted, state });
  } catch (error) {
    if (!(error instanceof UserError)) {
      throw error;
    }
    await requireNothingLeft(state);
    return `${error.code}: ${error.message}\n${error.hint ?? ''}`;
  }
  throw new Error(`${source} was imported`);
}

export async function requireNothingLeft(state: string): Promise<void> {
  const left = [...(await readdir(join(state, 'work'))), ...(await readdir(join(state, 'images')).catch(() => []))];
  const mounts = (await readFile('/proc/mounts', 'utf8')).split('\n').filter((line) => line.includes(join(state, 'work')));
  const loops = (await must('losetup', '--list', '--noheadings', '--output', 'BACK-FILE'))
    .split('\n')
    .filter((line) => line.includes(state));
  if (left.length > 0 || mounts.length > 0 || loops.length > 0) {
    throw new Error(`something was left: ${JSON.stringify({ left, mounts, loops })}`);
  }
}

export async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}
