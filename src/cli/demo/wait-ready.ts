import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../../domain/errors.ts';
import type { NodeView } from '../node/node-view.ts';
import type { DemoServer } from './demo-server.ts';

export interface ReadyOptions {
  readonly server: DemoServer;
  readonly name: string;
  /** A boot other than this one. */
  readonly after: string | undefined;
  readonly timeoutMs: number;
  readonly consoleFile: string;
  readonly signal: AbortSignal;
}

/** Waits for the node to report ready. @throws UserError with the end of its console when it does not */
export async function waitReady(options: ReadyOptions): Promise<NodeView> {
  const { server, name, after, timeoutMs, signal } = options;
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const node = await server.node(name);
    if (node.boot && node.boot.id !== after && node.boot.outcome === 'ready') {
      return node;
    }
    if (signal.aborted) {
      throw new UserError('cancelled', 'cancelled');
    }
    if (Date.now() > deadline) {
      const console = await readFile(options.consoleFile, 'utf8').catch(() => '');
      const tail = console.split('\n').slice(-15).join('\n');
      throw new UserError(
        'failed',
        `${name} did not become ready within ${timeoutMs / 1000} s; it is at "${node.state ?? '?'}". Its console ends with:\n${tail}`,
        {
          hint: `Whole console: ${options.consoleFile}; server log: ${server.logFile}`,
        },
      );
    }
    await sleep(500);
  }
}
