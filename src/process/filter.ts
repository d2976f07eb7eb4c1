import { createReadStream } from 'node:fs';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { execa } from 'execa';
import { systemCode, UserError } from '../domain/errors.ts';

export interface FilterOptions {
  /** A file, which the program reads as its stdin. */
  readonly input: string;
  /** Takes its stdout; an error of it ends the program. */
  readonly output: Writable;
  /** Bytes of the input so far. */
  readonly onRead?: (bytes: number) => void;
  readonly signal: AbortSignal;
}

const chunkBytes = 256 * 1024;

/** @throws UserError as `run` does; whatever `output` throws */
export async function filter(file: string, args: readonly string[], options: FilterOptions): Promise<void> {
  const { signal, onRead } = options;
  const child = execa(file, args, { reject: false, stdin: 'pipe', buffer: { stdout: false, stderr: true }, cancelSignal: signal });
  const input = createReadStream(options.input, { highWaterMark: chunkBytes });
  let bytes = 0;
  input.on('data', (chunk) => {
    bytes += chunk.length;
    onRead?.(bytes);
  });
  const outcome = { failure: undefined as unknown };
  const writing = pipeline(child.stdout, options.output).catch((error: unknown) => {
    outcome.failure = error;
    child.kill('SIGKILL');
  });
  // A program that ends early closes its stdin; what it says then is the reason, and not the broken pipe.
  const reading = pipeline(input, child.stdin).catch((error: unknown) => {
    if (systemCode(error) !== 'EPIPE' && systemCode(error) !== 'ERR_STREAM_PREMATURE_CLOSE') {
      outcome.failure ??= error;
      child.kill('SIGKILL');
    }
  });
  const result = await child;
  await Promise.all([writing, reading]);
  if (result.isCanceled) {
    throw new UserError('cancelled', `${file} was cancelled`);
  }
  if (outcome.failure !== undefined) {
    throw outcome.failure;
  }
  if (result.failed) {
    throw new UserError('failed', `${file} failed: ${result.stderr.trim().split('\n').slice(-4).join('\n')}`);
  }
}
