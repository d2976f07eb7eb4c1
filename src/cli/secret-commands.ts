import type { Command } from 'commander';
import { z } from 'zod';
import { foldRange } from '../domain/fold-range.ts';
import { withServer } from './admin-client.ts';
import type { Context } from './context.ts';
import { ago, table } from './format.ts';
import { nodeSetHelp, show } from './node/node-view.ts';

const Secrets = z.array(
  z.object({ name: z.string(), scope: z.enum(['cluster', 'node']), node: z.string().optional(), at: z.number().optional() }),
);

export function addSecretCommands(program: Command, contextOf: () => Context): void {
  const secret = program.command('secret').description('secrets that nodes are given at boot; a fleet file says which');
  secret
    .command('list')
    .description('which there are and when they were drawn, never what they are')
    .action(async () => {
      const context = contextOf();
      const secrets = Secrets.parse(await withServer(context, (client) => client.call('GET', '/secrets')));
      show(context, secrets, () => (secrets.length === 0 ? 'No secrets. A fleet file names them: settings.secrets' : secretTable(secrets)));
    });
  secret
    .command('rotate')
    .description('draw a secret anew; nodes have it from their next boot on')
    .argument('<name>', 'the name of the secret')
    .argument('[nodes]', `where each node has its own: ${nodeSetHelp}`)
    .action(async (name: string, nodes: string | undefined) => {
      const context = contextOf();
      const path = `/secrets/${encodeURIComponent(name)}/rotate`;
      const request = nodes === undefined ? {} : { nodes };
      const secrets = Secrets.parse(await withServer(context, (client) => client.call('POST', path, request)));
      show(context, secrets, () => `${secretTable(secrets)}\ncardless plan shows which nodes have to boot for it`);
    });
}

function secretTable(secrets: z.infer<typeof Secrets>): string {
  const rows = secrets.map(({ name, scope, node, at }) => ({
    name,
    node: scope === 'cluster' ? undefined : node,
    drawn: at === undefined ? 'at the next boot' : ago(at, Date.now()),
  }));
  const alike = Map.groupBy(rows, ({ name, node, drawn }) => JSON.stringify([name, node === undefined, drawn]));
  const lines = [...alike.values()].flatMap((same) =>
    same.slice(0, 1).map(({ name, drawn }) => [name, foldRange(same.flatMap(({ node }) => node ?? [])) || 'all nodes', drawn]),
  );
  return table(['SECRET', 'OF', 'DRAWN'], lines);
}
