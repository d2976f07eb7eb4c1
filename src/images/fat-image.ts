/** FAT file systems in a file, made by mkfs.vfat and mtools; the same input gives the same bytes. */
import { rm } from 'node:fs/promises';
import { run } from '../process/run.ts';

const sectorBytes = 512;
/** FAT knows no earlier moment than 1980 began; mtools keeps local time. */
const environment = { SOURCE_DATE_EPOCH: '315532800', TZ: 'UTC', MTOOLSRC: '/dev/null' };

export interface FatImageOptions {
  readonly file: string;
  readonly bytes: number;
  readonly clusterBytes: number;
  readonly label: string;
  /** 8 hex digits. */
  readonly volumeId: string;
  readonly files: readonly FatFile[];
}

export interface FatFile {
  readonly source: string;
  /** Within the image, slashes. */
  readonly path: string;
}

/** @throws UserError no-space, failed, not-found (the tools) */
export async function makeFatImage(options: FatImageOptions): Promise<void> {
  const { file, bytes, clusterBytes, label, volumeId, files } = options;
  await rm(file, { force: true });
  const format = ['-F', '16', '-f', '1', '-r', '512', '-S', String(sectorBytes), '-s', String(clusterBytes / sectorBytes)];
  await run('mkfs.vfat', ['--invariant', ...format, '-n', label, '-i', volumeId, '-C', file, String(bytes / 1024)], { env: environment });
  const directories = [...new Set(files.flatMap(({ path }) => parents(path)))].toSorted();
  if (directories.length > 0) {
    await run('mmd', ['-i', file, ...directories.map((path) => `::${path}`)], { env: environment });
  }
  for (const directory of ['', ...directories]) {
    const sources = files.filter(({ path }) => parents(path).at(-1) === (directory || undefined)).map(({ source }) => source);
    await copyIn(file, sources, directory);
  }
}

/** Puts files into the root directory of an image, in place of those of the same name. */
export async function putIntoFatImage(file: string, sources: readonly string[]): Promise<void> {
  await copyIn(file, sources, '');
}

async function copyIn(image: string, sources: readonly string[], directory: string): Promise<void> {
  if (sources.length > 0) {
    await run('mcopy', ['-i', image, '-D', 'o', ...sources, `::${directory}`], { env: environment });
  }
}

/** Every folder above a path: overlays/a/x gives overlays and overlays/a. */
function parents(path: string): string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}
