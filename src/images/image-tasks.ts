/** What is too much work for the thread that answers boards, and how it gets it done. */
import { Worker } from 'node:worker_threads';
import { UserError } from '../domain/errors.ts';
import type { ContentEntry, ImageDiff, KernelFormat, KernelModules } from '../domain/image-contents.ts';
import type { IdentifiedKernel } from './import/identify-kernel.ts';
import type { InitramfsModules } from './initramfs-modules.ts';

export type HashResult = { readonly bytes: number; readonly sha256: string } | { readonly unreadable: string };

export interface ContentsSummary {
  readonly packages: number;
  readonly files: number;
  readonly kernels: readonly KernelModules[];
}

export interface ListWithBoot {
  /** The list of a root, as `gather` wrote it. */
  readonly list: string;
  readonly boot: readonly ContentEntry[];
}

/** By kind: what is asked for, and what comes back. */
export interface ImageTasks {
  /** SHA-256 of each file. */
  readonly hash: { readonly task: { readonly files: readonly string[] }; readonly result: readonly HashResult[] };
  /** Lists an unpacked root into a file. */
  readonly gather: { readonly task: { readonly tree: string; readonly output: string }; readonly result: undefined };
  readonly summary: { readonly task: { readonly list: string }; readonly result: ContentsSummary };
  readonly diff: { readonly task: { readonly from: ListWithBoot; readonly to: ListWithBoot }; readonly result: ImageDiff };
  readonly kernelFormat: { readonly task: { readonly file: string }; readonly result: KernelFormat };
  /** Of a file that says to be a kernel. */
  readonly identifyKernel: { readonly task: { readonly file: string }; readonly result: IdentifiedKernel };
  /** The modules in an initramfs; undefined when it is none that we can read. */
  readonly initramfs: { readonly task: { readonly file: string }; readonly result: InitramfsModules | undefined };
}

export type TaskKind = keyof ImageTasks;
export type AnyTask = { readonly [Kind in TaskKind]: { readonly kind: Kind } & ImageTasks[Kind]['task'] }[TaskKind];

export type TaskMessage =
  | { readonly kind: 'read'; readonly bytes: number }
  | { readonly kind: 'done'; readonly result: unknown }
  | { readonly kind: 'refused'; readonly message: string };

export interface TaskOptions {
  readonly signal?: AbortSignal;
  /** How many more bytes were read. */
  readonly onBytes?: (count: number) => void;
}

/** @throws UserError cancelled, failed */
export async function inThread<Kind extends TaskKind>(
  kind: Kind,
  task: ImageTasks[Kind]['task'],
  { signal, onBytes }: TaskOptions = {},
): Promise<ImageTasks[Kind]['result']> {
  if (signal?.aborted) {
    throw cancelled();
  }
  const worker = new Worker(new URL('image-worker.ts', import.meta.url), { workerData: { ...task, kind } });
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const onAbort = (): void => reject(cancelled());
  signal?.addEventListener('abort', onAbort, { once: true });
  worker.on('message', (message: TaskMessage) => {
    switch (message.kind) {
      case 'read':
        onBytes?.(message.bytes);
        return;
      case 'done':
        resolve(message.result);
        return;
      case 'refused':
        reject(new UserError('failed', message.message));
        return;
      default:
        message satisfies never;
    }
  });
  worker.on('error', reject);
  worker.on('exit', () => reject(new UserError('failed', 'A thread that reads files ended without a result')));
  try {
    // The worker answers with the result of its kind: image-worker.ts is checked against the same table.
    return (await promise) as ImageTasks[Kind]['result'];
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await worker.terminate();
  }
}

function cancelled(): UserError {
  return new UserError('cancelled', 'Reading files was cancelled');
}
