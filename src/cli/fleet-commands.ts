import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import { fleetSchema } from '../config/fleet-document.ts';
import { sourcesOf } from '../config/fleet-file.ts';
import { systemCode, UserError } from '../domain/errors.ts';
import { withServer } from './admin-client.ts';
import type { Context } from './context.ts';
import { FleetResult, fleetText, PendingNodes, pendingText } from './fleet/fleet-view.ts';
import { table } from './format.ts';
import { nodeSetHelp, show } from './node/node-view.ts';

const maxSourceBytes = 262_144;

const Groups = z.array(
  z.object({ name: z.string(), parent: z.string().optional(), settings: z.record(z.string(), z.unknown()), nodes: z.array(z.string()) }),
);

interface FileOptions {
  readonly file: string;
  readonly prune?: boolean;
  readonly force?: boolean;
}

export function addFleetCommands(program: Command, contextOf: () => Context): void {
  program
    .command('apply')
    .description('make the fleet what a file says: groups, nodes and their settings')
    .requiredOption('-f, --file <file>', 'the fleet file, in YAML')
    .option('--dry-run', 'only tell what would change, as plan does')
    .option('--prune', 'remove the nodes and groups that are not in the file')
    .option('--force', 'also with images that are not there yet')
    .action(async ({ dryRun = false, ...options }: FileOptions & { dryRun?: boolean }) => {
      await applyFile(contextOf(), options, dryRun);
    });

  program
    .command('plan')
    .description('which nodes a file would change; without a file, which running nodes are not what they would be after a boot')
    .argument('[nodes]', nodeSetHelp)
    .option('-f, --file <file>', 'the fleet file, in YAML')
    .option('--prune', 'as with apply')
    .option('--force', 'as with apply')
    .action(async (names: string | undefined, { file, ...options }: Partial<FileOptions>) => {
      const context = contextOf();
      if (file !== undefined) {
        await applyFile(context, { ...options, file }, true);
        return;
      }
      const path = names === undefined ? '/fleet/pending' : `/fleet/pending/${encodeURIComponent(names)}`;
      const nodes = PendingNodes.parse(await withServer(context, (client) => client.call('GET', path)));
      show(context, nodes, () => pendingText(nodes));
    });

  const config = program.command('config').description('the fleet as a file');
  config
    .command('export')
    .description('what holds now, as a fleet file; comments of the file that was applied last are kept')
    .action(async () => {
      const context = contextOf();
      const { text } = z.object({ text: z.string() }).parse(await withServer(context, (client) => client.call('GET', '/fleet')));
      context.print(context.json ? JSON.stringify({ text }) : text.trimEnd());
    });
  config
    .command('schema')
    .description('the JSON Schema of a fleet file, for editors')
    .action(() => contextOf().print(JSON.stringify(fleetSchema(), undefined, 2)));

  program
    .command('group')
    .description('groups of nodes; a fleet file defines them')
    .command('list')
    .description('all groups, with their nodes')
    .action(async () => {
      const context = contextOf();
      const groups = Groups.parse(await withServer(context, (client) => client.call('GET', '/groups')));
      const rows = groups.map((group) => [
        group.name,
        group.parent ?? '-',
        String(group.nodes.length),
        Object.keys(group.settings).join(', '),
      ]);
      show(context, groups, () =>
        groups.length === 0
          ? 'No groups yet. A fleet file defines them: cardless apply -f cluster.yaml'
          : table(['NAME', 'PARENT', 'NODES', 'SETTINGS'], rows),
      );
    });
}

async function applyFile(context: Context, { file, ...options }: FileOptions, dryRun: boolean): Promise<void> {
  const text = await readText(file, file);
  const names = sourcesOf(file, text);
  const sources = Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readText(resolve(dirname(file), name), name)])),
  );
  const request = { name: file, text, sources, dryRun, ...options };
  const result = FleetResult.parse(await withServer(context, (client) => client.call('POST', '/fleet', request)));
  show(context, result, () => fleetText(result));
}

async function readText(path: string, name: string): Promise<string> {
  const bytes = await readFile(path).catch((error: unknown) => {
    const why = systemCode(error) === 'ENOENT' ? 'does not exist' : 'cannot be read';
    throw new UserError('bad-input', `${name} ${why}`, { cause: error, hint: `It was looked for at ${path}` });
  });
  const text = bytes.toString('utf8');
  if (path !== name && (bytes.length > maxSourceBytes || !Buffer.from(text, 'utf8').equals(bytes))) {
    throw new UserError('bad-input', `${name} is not a text of 256 kB at most`, {
      hint: 'Put larger files, and such that are no text, into the image',
    });
  }
  return text;
}
