/** Power of nodes, by whatever switches it: their agents, a PoE switch, a plug, a program. */
import type { Command } from 'commander';
import { z } from 'zod';
import { foldRange } from '../domain/fold-range.ts';
import { withServer } from './admin-client.ts';
import type { Context } from './context.ts';
import { table } from './format.ts';
import { nodePath, nodeSetHelp } from './node/node-view.ts';
import { inWaves, type WaveOptions, withWaveOptions } from './waves.ts';

const Results = z.array(
  z.object({
    name: z.string(),
    driver: z.string(),
    done: z.boolean(),
    state: z.string().optional(),
    reason: z.string().optional(),
    hint: z.string().optional(),
  }),
);
type Results = z.infer<typeof Results>;

const actions = {
  on: ['switch nodes on', 'switched on'],
  off: ['switch nodes off, as a plug that is pulled does; poweroff asks them first', 'switched off'],
  cycle: ['switch nodes off and on again', 'switched off and on'],
} as const;

export function addPowerCommands(program: Command, contextOf: () => Context): void {
  const power = program.command('power').description('switch nodes on and off; the setting `power` says by what, else by their agents');
  for (const [action, [description, did]] of Object.entries(actions)) {
    withWaveOptions(power.command(action).description(description))
      .argument('<nodes>', nodeSetHelp)
      .action(async (names: string, options: WaveOptions) => {
        const context = contextOf();
        const results = await act(context, names, options, action);
        if (options.dryRun !== true) {
          print(context, results, () => resultLines(results, did));
        }
      });
  }
  power
    .command('status')
    .description('whether nodes have power')
    .argument('<nodes>', nodeSetHelp)
    .action(async (names: string) => {
      const context = contextOf();
      const results = await act(context, names, { pause: '0' }, 'status');
      const rows = results.map(({ name, driver, state, reason }) => [name, driver, state ?? '-', reason ?? '']);
      print(context, results, () => table(['NAME', 'DRIVER', 'POWER', ''], rows));
    });
}

async function act(context: Context, names: string, options: WaveOptions, action: string): Promise<Results> {
  const results = await withServer(context, (client) =>
    inWaves(context, client, names, options, async (wave) =>
      Results.parse(await client.call('POST', `${nodePath(wave)}/power`, { action })),
    ),
  );
  process.exitCode = results.every(({ done }) => done) ? 0 : 1;
  return [...results];
}

function print(context: Context, results: Results, text: () => string): void {
  context.print(context.json ? JSON.stringify(results) : text());
}

function resultLines(results: Results, did: string): string {
  const ways = new Map<string, string[]>();
  for (const { name, done, reason = 'for no reason', hint } of results) {
    const how = done ? did : `not ${did}: ${reason}${hint === undefined ? '' : `. ${hint}`}`;
    ways.set(how, [...(ways.get(how) ?? []), name]);
  }
  return [...ways].map(([how, nodes]) => `${foldRange(nodes)}: ${how}`).join('\n');
}
