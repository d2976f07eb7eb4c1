/** Unpacks a compressed file to disk, with holes for zeros and an end to what can be too much. */
import { type FileHandle, open, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Writable } from 'node:stream';
import { UserError } from '../../domain/errors.ts';
import { filter } from '../../process/filter.ts';
import { containedCommand } from '../../process/run.ts';
import { bytesText } from './bytes-text.ts';
import type { Compression } from './sniff.ts';

/** Other jobs, leases and overlays share the disk. */
const reserveBytes = 256 * 1024 ** 2;
/** A card of 128 GB that is nearly empty comes to 250; archives made to fill a disk to a thousand and more. */
const maxRatio = 1000;
const ratioMattersFrom = 1024 ** 3;

const programs: Readonly<Record<Compression, readonly [string, readonly string[]]>> = {
  xz: ['xz', ['-dc', '-T2']],
  gzip: ['gzip', ['-dc']],
  zstd: ['zstd', ['-dcq', '--long=31']],
  bzip2: ['bzip2', ['-dc']],
};

export interface DecompressOptions {
  readonly input: string;
  readonly output: string;
  readonly by: Compression;
  /** More than that is refused. */
  readonly maxBytes?: number;
  readonly signal: AbortSignal;
  /** @param fraction of the input that was read */
  readonly onProgress: (fraction: number, bytes: number) => void;
}

/** @throws UserError no-space, bad-input (damaged, or a bomb), cancelled */
export async function decompress(options: DecompressOptions): Promise<void> {
  const { input, output, by, maxBytes = Number.POSITIVE_INFINITY, signal } = options;
  const packedBytes = (await stat(input)).size;
  const room = await freeBytes(dirname(output));
  const [program, args] = programs[by];
  await using file = await open(output, 'wx', 0o600);
  const sink = new SparseFile(file, ({ logical, data }) => {
    if (data > room) {
      return new UserError('no-space', `${input} unpacks to more than the ${bytesText(room)} that are free`, {
        hint: 'Free some space, or put the state folder on a larger disk; nothing half-made was kept',
      });
    }
    if (logical > maxBytes) {
      return new UserError('bad-input', `${input} unpacks to more than ${bytesText(maxBytes)}`, {
        hint: 'It seems to be made to fill a disk',
      });
    }
    return logical > ratioMattersFrom && logical / packedBytes > maxRatio
      ? new UserError('bad-input', `${input} unpacks to more than ${maxRatio} times its size of ${bytesText(packedBytes)}`, {
          hint: 'No system does; it seems to be made to fill a disk. If you trust it, unpack it yourself and import the result',
        })
      : undefined;
  });
  const [contained, containedArgs] = containedCommand(program, args);
  const onRead = (read: number): void => options.onProgress(packedBytes === 0 ? 1 : read / packedBytes, sink.logical);
  try {
    await filter(contained, containedArgs, { input, output: sink, signal, onRead });
  } catch (error) {
    throw error instanceof UserError && error.code === 'failed'
      ? new UserError('bad-input', `${input} is damaged or cut short: ${error.message}`, { cause: error, hint: 'Fetch it again' })
      : error;
  }
}

/** What a job may fill of the disk that this folder is on, in bytes. */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return Math.max(0, bavail * bsize - reserveBytes);
}

/** @throws UserError no-space */
export async function requireSpace(bytes: number, work: string, what: string): Promise<void> {
  const room = await freeBytes(work);
  if (bytes > room) {
    throw new UserError('no-space', `${what} unpacks to ${bytesText(bytes)}, and ${bytesText(room)} are free`, {
      hint: 'Free some space, or put the state folder on a larger disk; nothing half-made was kept',
    });
  }
}

type Limit = (written: { readonly logical: number; readonly data: number }) => UserError | undefined;

const zeros = Buffer.alloc(64 * 1024);

/** Chunks of zeros become holes. */
class SparseFile extends Writable {
  readonly #file: FileHandle;
  readonly #limit: Limit;
  #data = 0;
  logical = 0;

  constructor(file: FileHandle, limit: Limit) {
    super({ highWaterMark: 1024 ** 2 });
    this.#file = file;
    this.#limit = limit;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const at = this.logical;
    this.logical += chunk.length;
    const isHole = chunk.length <= zeros.length && chunk.equals(zeros.subarray(0, chunk.length));
    this.#data += isHole ? 0 : chunk.length;
    const refused = this.#limit({ logical: this.logical, data: this.#data });
    if (refused) {
      done(refused);
    } else if (isHole) {
      done();
    } else {
      this.#writeAll(chunk, at).then(() => done(), done);
    }
  }

  async #writeAll(chunk: Buffer, at: number): Promise<void> {
    for (let from = 0; from < chunk.length; ) {
      const { bytesWritten } = await this.#file.write(chunk, from, chunk.length - from, at + from);
      from += bytesWritten;
    }
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#file.truncate(this.logical).then(() => done(), done);
  }
}
