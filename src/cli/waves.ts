/** What verbs that make machines start or stop have in common: waves, and pauses between them. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { z } from 'zod';
import { parseDuration } from '../domain/duration.ts';
import { UserError } from '../domain/errors.ts';
import { foldRange } from '../domain/fold-range.ts';
import { wavesOf } from '../domain/waves.ts';
import type { AdminClient } from './admin-client.ts';
import type { Context } from './context.ts';
import { NodeView, nodePath } from './node/node-view.ts';

export interface WaveOptions {
  readonly wave?: string;
  readonly pause: string;
  readonly by?: string;
  readonly dryRun?: boolean;
}

export function withWaveOptions(command: Command): Command {
  return command
    .option('--wave <number>', 'at most so many nodes at once')
    .option('--by <label>', 'a wave for each value of this label, in order, for example rack; nodes without it come last')
    .option('--pause <time>', 'between waves', '10s')
    .option('--dry-run', 'only tell the waves');
}

/** @returns what `work` gave for all nodes */
export async function inWaves<T>(
  context: Context,
  client: AdminClient,
  names: string,
  options: WaveOptions,
  work: (names: string) => Promise<readonly T[]>,
): Promise<readonly T[]> {
  const pauseMs = parseDuration(options.pause);
  const size = options.wave === undefined ? undefined : Number(options.wave);
  if (size !== undefined && (!Number.isInteger(size) || size < 1)) {
    throw new UserError('bad-input', `"${options.wave}" is not a number of nodes`, { hint: 'For example --wave 5' });
  }
  const nodes = z.array(NodeView).parse(await client.call('GET', nodePath(names)));
  const rule = { ...(size === undefined ? {} : { size }), ...(options.by === undefined ? {} : { by: options.by }) };
  const waves = wavesOf(
    nodes.map(({ name, labels = {} }) => ({ name, labels })),
    rule,
  );
  const results: T[] = [];
  for (const [index, wave] of waves.entries()) {
    if (index > 0 && options.dryRun !== true) {
      await pause(pauseMs, context);
    }
    if (waves.length > 1 || options.dryRun) {
      context.note(`wave ${index + 1} of ${waves.length}: ${foldRange(wave)}`);
    }
    if (options.dryRun !== true) {
      results.push(...(await work(wave.join(','))));
    }
  }
  return results;
}

async function pause(ms: number, { signal }: Context): Promise<void> {
  try {
    await sleep(ms, undefined, { signal });
  } catch (cause) {
    throw new UserError('cancelled', 'cancelled; the waves that were left are as they were', { cause });
  }
}
