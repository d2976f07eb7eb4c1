/** Orders that the agents of running nodes take. */
import type { Command } from 'commander';
import { z } from 'zod';
import { parseDuration } from '../domain/duration.ts';
import { foldRange } from '../domain/fold-range.ts';
import { withServer } from './admin-client.ts';
import type { Context } from './context.ts';
import { nodePath, nodeSetHelp } from './node/node-view.ts';
import { inWaves, type WaveOptions, withWaveOptions } from './waves.ts';

const Results = z.array(z.object({ name: z.string(), taken: z.boolean(), reason: z.string().optional() }));
type Result = z.infer<typeof Results>[number];

export function addOrderCommands(program: Command, contextOf: () => Context): void {
  for (const [verb, description] of [
    ['reboot', 'have running nodes restart in order'],
    ['poweroff', 'have running nodes shut down in order'],
  ] as const) {
    withWaveOptions(program.command(verb).description(`${description}; ends when their agents have taken the order`))
      .argument('<nodes>', nodeSetHelp)
      .action(async (names: string, options: WaveOptions) => {
        await give(contextOf(), names, options, { verb });
      });
  }
  program
    .command('blink')
    .description('have the activity light of nodes blink, so that they are found in the rack')
    .argument('<nodes>', nodeSetHelp)
    .option('--for <time>', 'how long', '30s')
    .action(async (names: string, { for: time }: { for: string }) => {
      const seconds = Math.max(1, Math.round(parseDuration(time) / 1000));
      await give(contextOf(), names, { pause: '0' }, { verb: 'blink', seconds });
    });
}

async function give(context: Context, names: string, options: WaveOptions, order: { verb: string; seconds?: number }): Promise<void> {
  const results = await withServer(context, (client) =>
    inWaves(context, client, names, options, async (wave) => Results.parse(await client.call('POST', `${nodePath(wave)}/orders`, order))),
  );
  if (context.json) {
    context.print(JSON.stringify(results));
  } else if (options.dryRun !== true) {
    for (const line of resultLines(results, order.verb)) {
      context.print(line);
    }
  }
  process.exitCode = results.every(({ taken }) => taken) ? 0 : 1;
}

function resultLines(results: readonly Result[], verb: string): string[] {
  const ways = new Map<string, string[]>();
  for (const { name, taken, reason } of results) {
    const how = taken ? `${verb} taken` : `not taken: ${reason ?? 'for no reason'}`;
    ways.set(how, [...(ways.get(how) ?? []), name]);
  }
  return [...ways].map(([how, nodes]) => `${foldRange(nodes)}: ${how}`);
}
