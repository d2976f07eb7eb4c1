/** A node's changes become the next version of its image. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { projectRoot } from '../../config/places.ts';
import { UserError, type UserErrorCode } from '../../domain/errors.ts';
import type { CopiedState } from '../../domain/overlay.ts';
import { removeTree } from '../../process/remove-tree.ts';
import { containedCommand, run } from '../../process/run.ts';
import { type OnProgress, section } from '../progress.ts';
import { CommitLine, type CommitReport, type CommitRequest } from './messages.ts';

export interface CommitOptions {
  readonly request: Omit<CommitRequest, 'disk'>;
  /** Writes a copy of the overlay to this path: of one moment, and clean. */
  readonly copyDisk: (to: string, signal: AbortSignal) => Promise<CopiedState>;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

export interface CommitResult extends CommitReport {
  readonly snapshot: CopiedState;
}

/** Everything it makes is in `request.work` until the image appears; that folder is gone when this ends. */
export async function commitImage(options: CommitOptions): Promise<CommitResult> {
  const { request, copyDisk, signal, onProgress } = options;
  const { work } = request;
  await removeTree(work);
  await mkdir(work, { recursive: true });
  try {
    onProgress({ phase: 'copying the overlay', fraction: 0.01 });
    const disk = join(work, 'overlay.img');
    const snapshot = await copyDisk(disk, signal);
    const report = await runWorker({ ...request, disk }, signal, section(onProgress, 0.05, 1));
    return { ...report, snapshot };
  } finally {
    await removeTree(work);
  }
}

async function runWorker(request: CommitRequest, signal: AbortSignal, onProgress: OnProgress): Promise<CommitReport> {
  const file = join(request.work, 'request.json');
  await writeFile(file, JSON.stringify(request));
  const worker = join(projectRoot, 'src/images/commit/worker.ts');
  const [program, args] = containedCommand(process.execPath, [worker, file]);
  let report: CommitReport | undefined;
  let error: UserError | undefined;
  const onLine = (text: string): void => {
    const line = readLine(text);
    if (line === undefined) {
      return;
    }
    if ('phase' in line) {
      onProgress(line);
    } else if ('report' in line) {
      ({ report } = line);
    } else {
      const { code, message, hint } = line.error;
      error = new UserError(code as UserErrorCode, message, hint === undefined ? {} : { hint });
    }
  };
  try {
    // At once: it would go on to publish, and what it leaves behind ends with its name spaces.
    await run(program, args, { signal, killSignal: 'SIGKILL', onLine });
  } catch (failure) {
    // Cancelled when the image was there already: then it is there.
    if (!report) {
      throw signal.aborted ? failure : (error ?? failure);
    }
  }
  if (!report) {
    throw new UserError('failed', 'The commit ended without a result');
  }
  return report;
}

/** What is not one of ours is a word of Node itself, on stderr. */
function readLine(text: string): CommitLine | undefined {
  if (!text.startsWith('{')) {
    return undefined;
  }
  return CommitLine.safeParse(JSON.parse(text)).data;
}
