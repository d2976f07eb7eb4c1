import type { Command } from 'commander';
import { z } from 'zod';
import { withServer } from './admin-client.ts';
import type { Context } from './context.ts';
import { ago, table } from './format.ts';
import { addNodeAdd } from './node/add-node.ts';
import { addNodeClaim } from './node/claim-node.ts';
import { addNodeImport } from './node/import-nodes.ts';
import { BootView, NodeView, nodePath, nodeSetHelp, nodeTable, nodeText, show, timeline } from './node/node-view.ts';
import { addNodeSet } from './node/set-node.ts';

const Removed = z.looseObject({ name: z.string(), dataKept: z.boolean() });

const Unclaimed = z.object({
  mac: z.string(),
  serial: z.string().optional(),
  model: z.string().optional(),
  memoryMiB: z.number().optional(),
  client: z.string(),
  interfaceName: z.string(),
  lastSeen: z.number(),
  count: z.number(),
});

export function addNodeCommands(program: Command, contextOf: () => Context): void {
  const node = program.command('node').description('register, list and change the boards that are booted');

  addNodeAdd(node, contextOf);

  node
    .command('list')
    .description('all nodes, or those of a set, or the boards that asked to boot and are not registered')
    .argument('[nodes]', nodeSetHelp)
    .option('--unclaimed', 'boards that are not registered')
    .action(async (names: string | undefined, options: { unclaimed?: boolean }) => {
      const context = contextOf();
      if (options.unclaimed) {
        const boards = z.array(Unclaimed).parse(await withServer(context, (client) => client.call('GET', '/unclaimed')));
        show(context, boards, () => unclaimedTable(boards));
        return;
      }
      const nodes = z
        .array(NodeView)
        .parse(
          await withServer(context, (client) =>
            client.call('GET', names === undefined ? '/nodes' : `/nodes?set=${encodeURIComponent(names)}`),
          ),
        );
      show(context, nodes, () => nodeTable(nodes));
    });

  node
    .command('show')
    .description('everything about a node, with the timeline of its last boot')
    .argument('<nodes>', nodeSetHelp)
    .action(async (name: string) => {
      const context = contextOf();
      const nodes = z.array(NodeView).parse(await withServer(context, (client) => client.call('GET', nodePath(name))));
      show(context, nodes, () => nodes.map(nodeText).join('\n\n'));
    });

  node
    .command('boots')
    .description("the timelines of a node's last boots, newest first")
    .argument('<name>')
    .action(async (name: string) => {
      const context = contextOf();
      const boots = z.array(BootView).parse(await withServer(context, (client) => client.call('GET', `${nodePath(name)}/boots`)));
      show(context, boots, () => (boots.length === 0 ? `${name} never booted` : boots.map(timeline).join('\n\n')));
    });

  addNodeSet(node, contextOf);
  addNodeClaim(node, contextOf);
  addNodeImport(node, contextOf);

  for (const [command, hold, what, done] of [
    [
      'hold',
      true,
      'leave its firmware without an answer, so that it boots from its next device; a running node is not disturbed',
      'on hold',
    ],
    ['unhold', false, 'boot it from the network again', 'boots from the network again'],
  ] as const) {
    node
      .command(command)
      .description(what)
      .argument('<nodes>', nodeSetHelp)
      .action(async (name: string) => {
        const context = contextOf();
        const nodes = z.array(NodeView).parse(await withServer(context, (client) => client.call('PATCH', nodePath(name), { hold })));
        show(context, nodes, () => nodes.map((entry) => `${entry.name}: ${done}`).join('\n'));
      });
  }

  node
    .command('rm')
    .description('forget a node, with its overlay, its keys and its history; its data volume stays')
    .argument('<nodes>', nodeSetHelp)
    .option('--with-data', 'with its data volume, also of a node that was removed before')
    .option('--dry-run', 'only tell which nodes would go')
    .action(async (name: string, { withData = false, dryRun = false }: { withData?: boolean; dryRun?: boolean }) => {
      const context = contextOf();
      const request = { withData, dryRun };
      const nodes = z.array(Removed).parse(await withServer(context, (client) => client.call('DELETE', nodePath(name), request)));
      if (dryRun) {
        show(context, nodes, () => `would remove ${nodes.map((entry) => entry.name).join(', ')}`);
        return;
      }
      const kept = nodes.filter((entry) => entry.dataKept).map((entry) => entry.name);
      const remark = `\nkept the data of ${kept.join(', ')}; --with-data deletes it, a new node of that name finds it`;
      show(context, nodes, () => `removed ${nodes.map((entry) => entry.name).join(', ')}${kept.length === 0 ? '' : remark}`);
    });

  program
    .command('reimage')
    .description('give a node a fresh overlay at its next boot; a running node is not disturbed')
    .argument('<nodes>', nodeSetHelp)
    .action(async (name: string) => {
      const context = contextOf();
      const nodes = z.array(NodeView).parse(await withServer(context, (client) => client.call('POST', `${nodePath(name)}/reimage`)));
      show(context, nodes, () => nodes.map((entry) => `${entry.name} starts afresh at its next boot`).join('\n'));
    });
}

function unclaimedTable(boards: readonly z.infer<typeof Unclaimed>[]): string {
  if (boards.length === 0) {
    return 'No unknown board has asked to boot.';
  }
  const rows = boards.map((board) => [
    board.serial ?? '-',
    board.mac,
    `${board.model ?? board.client}${board.memoryMiB === undefined ? '' : `, ${board.memoryMiB / 1024} GB`}`,
    board.interfaceName,
    String(board.count),
    ago(board.lastSeen, Date.now()),
  ]);
  return table(['SERIAL', 'MAC', 'MODEL', 'INTERFACE', 'ASKED', 'LAST'], rows);
}
