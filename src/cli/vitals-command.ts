/** How nodes do, as their agents told it last. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { z } from 'zod';
import { withServer } from './admin-client.ts';
import type { Context } from './context.ts';
import { nodeSetHelp } from './node/node-view.ts';
import { VitalsView, vitalsTable } from './node/vitals-view.ts';

const Rows = z.array(z.object({ name: z.string(), vitals: VitalsView.optional() }));
type Rows = z.infer<typeof Rows>;

const watchMs = 2000;

export function addVitalsCommand(program: Command, contextOf: () => Context): void {
  program
    .command('vitals')
    .description(
      'how nodes do, as they told it last: load, memory, temperature, throttling, space; the setting `vitalsSeconds` says how often',
    )
    .argument('[nodes]', nodeSetHelp)
    .option('--watch', 'again every two seconds; with --json a line each time')
    .action(async (names: string | undefined, { watch = false }: { watch?: boolean }) => {
      const context = contextOf();
      if (watch) {
        await watchVitals(context, names);
        return;
      }
      context.print(render(context, await read(context, names)));
    });
}

async function watchVitals(context: Context, names: string | undefined): Promise<void> {
  const clear = process.stdout.isTTY && !context.json ? '\u001b[H\u001b[J' : '';
  while (!context.signal.aborted) {
    context.print(`${clear}${render(context, await read(context, names))}`);
    await sleep(watchMs, undefined, { signal: context.signal }).catch(() => {});
  }
}

async function read(context: Context, names: string | undefined): Promise<Rows> {
  const path = names === undefined ? '/nodes' : `/nodes?set=${encodeURIComponent(names)}`;
  return Rows.parse(await withServer(context, (client) => client.call('GET', path)));
}

function render(context: Context, rows: Rows): string {
  if (context.json) {
    return JSON.stringify(rows);
  }
  return rows.length === 0 ? 'No nodes yet.' : vitalsTable(rows, Date.now());
}
