/** How nodes do, as their agents told it last. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { z } from 'zod';
import { type AdminClient, withServer } from './admin-client.ts';
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
      await withServer(context, async (client) => {
        await print(context, client, names, '');
        const clear = process.stdout.isTTY && !context.json ? '\u001b[H\u001b[J' : '';
        while (watch && !(await isOver(context.signal))) {
          await print(context, client, names, clear);
        }
      });
    });
}

async function isOver(signal: AbortSignal): Promise<boolean> {
  await sleep(watchMs, undefined, { signal }).catch(() => {});
  return signal.aborted;
}

async function print(context: Context, client: AdminClient, names: string | undefined, before: string): Promise<void> {
  const path = names === undefined ? '/nodes' : `/nodes?set=${encodeURIComponent(names)}`;
  context.print(`${before}${render(context, Rows.parse(await client.call('GET', path)))}`);
}

function render(context: Context, rows: Rows): string {
  if (context.json) {
    return JSON.stringify(rows);
  }
  return rows.length === 0 ? 'No nodes yet.' : vitalsTable(rows, Date.now());
}
