/** From what the operator named to a file or directory here, with the right checksum. */
import { open, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, systemCode, UserError } from '../../domain/errors.ts';
import { run } from '../../process/run.ts';
import type { OnProgress } from '../progress.ts';
import { bytesText } from './bytes-text.ts';
import { freeBytes } from './decompress.ts';

export interface ObtainOptions {
  readonly sha256: string | undefined;
  readonly work: string;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

export interface Obtained {
  readonly path: string;
  readonly isDirectory: boolean;
  /** Below `work`: it may be changed. */
  readonly isOurs: boolean;
}

export function isUrl(source: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(source);
}

/** @throws UserError before anything long begins: bad-input, not-found */
export function checkRequest(source: string, sha256: string | undefined): void {
  if (sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(sha256)) {
    throw new UserError('bad-input', `"${sha256}" is not a SHA-256`, { hint: '64 hex digits, as sha256sum prints them' });
  }
  if (isUrl(source) && !/^https?:\/\//i.test(source)) {
    throw new UserError('bad-input', `${source}: only https:// and http:// can be fetched`);
  }
  if (isUrl(source) && sha256 === undefined) {
    throw new UserError('bad-input', `${source} can only be fetched with its checksum`, {
      hint: 'Add --sha256 and the 64 hex digits that the page with the download shows',
    });
  }
}

/** @throws UserError not-found, bad-input (wrong checksum), no-space, unavailable, cancelled */
export async function obtain(source: string, options: ObtainOptions): Promise<Obtained> {
  checkRequest(source, options.sha256);
  if (isUrl(source)) {
    return { path: await download(source, options), isDirectory: false, isOurs: true };
  }
  const path = await realpath(source).catch((cause: unknown) => {
    throw new UserError('not-found', `${source} cannot be read: ${messageOf(cause)}`, { cause });
  });
  const stats = await stat(path);
  if (stats.isDirectory()) {
    if (options.sha256 !== undefined) {
      throw new UserError('bad-input', `${source} is a directory: it has no checksum`, { hint: 'Leave --sha256 away' });
    }
    return { path, isDirectory: true, isOurs: false };
  }
  if (!stats.isFile()) {
    throw new UserError('bad-input', `${source} is neither a file nor a directory`, {
      hint: 'Copy a card to a file first: dd if=/dev/mmcblk0 of=card.img bs=4M',
    });
  }
  if (options.sha256 !== undefined) {
    options.onProgress({ phase: 'checking the checksum', fraction: 0.5 });
    requireSame(source, await sha256Of(path, options.signal), options.sha256);
  }
  return { path, isDirectory: false, isOurs: false };
}

/** By a program of its own: hashing gigabytes is no work for the event loop that answers boards. */
export async function sha256Of(path: string, signal: AbortSignal): Promise<string> {
  return (await run('sha256sum', ['--', path], { signal })).replace(/^\\/, '').slice(0, 64);
}

async function download(url: string, { sha256, work, signal, onProgress }: ObtainOptions): Promise<string> {
  const path = join(work, 'download');
  const response = await fetch(url, { signal }).catch((cause: unknown) => {
    throw failedFetch(url, cause, signal);
  });
  if (!response.ok || !response.body) {
    throw new UserError('not-found', `${url} answers ${response.status} ${response.statusText}`, { hint: 'Look at the address' });
  }
  const length = Number(response.headers.get('content-length') ?? 0);
  const room = await freeBytes(work);
  if (length > room) {
    throw tooLarge(url, room);
  }
  await fetchInto(path, { url, body: response.body, length, room, signal, onProgress });
  requireSame(url, await sha256Of(path, signal), sha256 ?? '');
  return path;
}

interface Fetching {
  readonly url: string;
  readonly body: AsyncIterable<Uint8Array>;
  /** 0 when it is not known. */
  readonly length: number;
  readonly room: number;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

async function fetchInto(path: string, { url, body, length, room, signal, onProgress }: Fetching): Promise<void> {
  await using file = await open(path, 'wx', 0o600);
  let bytes = 0;
  try {
    for await (const chunk of body) {
      // Unlike write(), it goes on where the system took a part only.
      await file.appendFile(chunk);
      bytes += chunk.length;
      if (bytes > room) {
        throw tooLarge(url, room);
      }
      onProgress({
        phase: `fetching ${bytesText(bytes)}${length > 0 ? ` of ${bytesText(length)}` : ''}`,
        fraction: length > 0 ? bytes / length : 0,
      });
    }
  } catch (cause) {
    throw cause instanceof UserError || systemCode(cause) === 'ENOSPC' ? cause : failedFetch(url, cause, signal);
  }
}

function tooLarge(url: string, room: number): UserError {
  return new UserError('no-space', `${url} is larger than the ${bytesText(room)} that are free`, { hint: 'Nothing of it was kept' });
}

function failedFetch(url: string, cause: unknown, signal: AbortSignal): UserError {
  if (signal.aborted) {
    return new UserError('cancelled', `Fetching ${url} was cancelled`, { cause });
  }
  const inner = cause instanceof Error && cause.cause !== undefined ? `: ${messageOf(cause.cause)}` : '';
  return new UserError('unavailable', `${url} cannot be fetched: ${messageOf(cause)}${inner}`, {
    cause,
    hint: 'Nothing of it was kept; try again, or fetch it yourself and import the file',
  });
}

function requireSame(source: string, found: string, wanted: string): void {
  if (found !== wanted.toLowerCase()) {
    throw new UserError('bad-input', `${source} has another checksum: ${found} and not ${wanted}`, {
      hint: 'It is damaged, or another version than the checksum is for. Nothing of it was kept',
    });
  }
}
