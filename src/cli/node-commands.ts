import type { Command } from 'commander';
import { z } from 'zod';
import { bootStages } from '../domain/boot-session.ts';
import { parseOverlayMode } from '../domain/node.ts';
import { withServer } from './admin-client.ts';
import type { Context } from './context.ts';
import { ago, bytes, duration, table } from './format.ts';

const BootView = z.object({
  id: z.string(),
  client: z.string(),
  digest: z.string(),
  startedAt: z.number(),
  stage: z.enum(bootStages),
  outcome: z.string(),
  failure: z.string().optional(),
  events: z.array(z.object({ at: z.number(), stage: z.string(), what: z.string(), detail: z.string().optional() })),
});
export type BootView = z.infer<typeof BootView>;

export const NodeView = z.object({
  name: z.string(),
  serial: z.string().optional(),
  macs: z.array(z.string()),
  model: z.string().optional(),
  address: z.string().optional(),
  image: z.string(),
  overlay: z.string(),
  reimage: z.boolean(),
  hold: z.boolean().optional(),
  state: z.string().optional(),
  overlayUsedBytes: z.number().optional(),
  dataBytes: z.number().optional(),
  data: z.object({ usedBytes: z.number(), virtualBytes: z.number() }).optional(),
  hostKey: z.string().optional(),
  boot: BootView.optional(),
  nextImages: z.array(z.string()).optional(),
});
export type NodeView = z.infer<typeof NodeView>;

const Removed = z.looseObject({ name: z.string(), dataKept: z.boolean() });

/** Commander's: `--no-data` makes it false. */
interface DataOption {
  readonly data?: string | boolean;
}

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

interface ChangeOptions {
  readonly image?: string;
  readonly force?: boolean;
  readonly overlay?: string;
  readonly carry?: string[];
}

export function addNodeCommands(program: Command, contextOf: () => Context): void {
  const node = program.command('node').description('register, list and change the boards that are booted');

  node
    .command('add')
    .description('register a board, or several with a range: red[5-7]')
    .argument('<name>', 'host name, or a range of them')
    .option('--serial <serial>', 'serial number (Pi: 8 hex digits; PC: UUID); a range or a comma list for several')
    .option('--mac <mac>', 'MAC address, when the serial is not known')
    .option('--ip <address>', 'fixed address, or a range: 192.168.1.[5-7]')
    .option('--image <ref>', 'image to boot: name, name:tag or name:digest (default: the setting defaultImage)')
    .option('--force', 'also with an image that is not there yet')
    .option('--overlay <mode>', 'persistent or ephemeral', 'persistent')
    .option('--data <size>', 'a data volume, which survives reimage: 8G')
    .option('--no-data', 'no data volume, even if its image wants one')
    .action(async (name: string, { data, ...options }: { overlay: string; force?: boolean } & DataOption) => {
      const context = contextOf();
      const request = { name, ...options, ...dataSize(data), overlay: parseOverlayMode(options.overlay) };
      const added = z.array(NodeView).parse(await withServer(context, (client) => client.call('POST', '/nodes', request)));
      show(context, added, () => `added ${added.map((entry) => entry.name).join(', ')}`);
    });

  node
    .command('list')
    .description('all nodes, or the boards that asked to boot and are not registered')
    .option('--unclaimed', 'boards that are not registered')
    .action(async (options: { unclaimed?: boolean }) => {
      const context = contextOf();
      if (options.unclaimed) {
        const boards = z.array(Unclaimed).parse(await withServer(context, (client) => client.call('GET', '/unclaimed')));
        show(context, boards, () => unclaimedTable(boards));
        return;
      }
      const nodes = z.array(NodeView).parse(await withServer(context, (client) => client.call('GET', '/nodes')));
      show(context, nodes, () => nodeTable(nodes));
    });

  node
    .command('show')
    .description('everything about a node, with the timeline of its last boot')
    .argument('<name>', 'a name or a range')
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

  node
    .command('set')
    .description('change a node; takes effect at its next boot')
    .argument('<name>', 'a name or a range')
    .option('--image <ref>', 'image to boot: name, name:tag or name:digest; an earlier version is the way back')
    .option('--force', 'also with an image that is not there yet')
    .option('--overlay <mode>', 'persistent or ephemeral')
    .option('--carry <path...>', 'copy these paths from the overlay of the version that it booted last into that of the next one')
    .option('--data <size>', 'a data volume, which survives reimage, or a larger one: 8G')
    .option('--no-data', 'boot without the data volume; what is on it stays')
    .action(async (name: string, { data, ...options }: ChangeOptions & DataOption) => {
      const context = contextOf();
      const change = {
        ...options,
        ...dataSize(data),
        ...(options.overlay === undefined ? {} : { overlay: parseOverlayMode(options.overlay) }),
      };
      const nodes = z.array(NodeView).parse(await withServer(context, (client) => client.call('PATCH', nodePath(name), change)));
      show(context, nodes, () => nodes.map((entry) => `${entry.name}: image ${entry.image}, overlay ${entry.overlay}`).join('\n'));
    });

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
      .argument('<name>', 'a name or a range')
      .action(async (name: string) => {
        const context = contextOf();
        const nodes = z.array(NodeView).parse(await withServer(context, (client) => client.call('PATCH', nodePath(name), { hold })));
        show(context, nodes, () => nodes.map((entry) => `${entry.name}: ${done}`).join('\n'));
      });
  }

  node
    .command('rm')
    .description('forget a node, with its overlay, its keys and its history; its data volume stays')
    .argument('<name>', 'a name or a range')
    .option('--with-data', 'with its data volume, also of a node that was removed before')
    .action(async (name: string, { withData = false }: { withData?: boolean }) => {
      const context = contextOf();
      const nodes = z.array(Removed).parse(await withServer(context, (client) => client.call('DELETE', nodePath(name), { withData })));
      const kept = nodes.filter((entry) => entry.dataKept).map((entry) => entry.name);
      const remark = `\nkept the data of ${kept.join(', ')}; --with-data deletes it, a new node of that name finds it`;
      show(context, nodes, () => `removed ${nodes.map((entry) => entry.name).join(', ')}${kept.length === 0 ? '' : remark}`);
    });

  program
    .command('reimage')
    .description('give a node a fresh overlay at its next boot; a running node is not disturbed')
    .argument('<name>', 'a name or a range')
    .action(async (name: string) => {
      const context = contextOf();
      const nodes = z.array(NodeView).parse(await withServer(context, (client) => client.call('POST', `${nodePath(name)}/reimage`)));
      show(context, nodes, () => nodes.map((entry) => `${entry.name} starts afresh at its next boot`).join('\n'));
    });
}

function dataSize(data: string | boolean | undefined): { dataSize?: string | null } {
  return typeof data === 'string' ? { dataSize: data } : data === false ? { dataSize: null } : {};
}

function nodePath(name: string): string {
  return `/nodes/${encodeURIComponent(name)}`;
}

function show(context: Context, value: object, text: () => string): void {
  context.print(context.json ? JSON.stringify(value) : text());
}

function nodeTable(nodes: readonly NodeView[]): string {
  if (nodes.length === 0) {
    return 'No nodes yet. Register one: cardless node add red5 --serial 91cdf03d';
  }
  const rows = nodes.map((node) => [
    node.name,
    node.serial ?? '-',
    node.model ?? '-',
    node.address ?? '-',
    node.image,
    node.reimage ? `${node.overlay}, fresh at next boot` : node.overlay,
    node.hold ? `${node.state ?? '-'}, on hold` : (node.state ?? '-'),
  ]);
  return table(['NAME', 'SERIAL', 'MODEL', 'ADDRESS', 'IMAGE', 'OVERLAY', 'STATE'], rows);
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

function nodeText(node: NodeView): string {
  const facts: [string, string][] = [
    ['name', node.name],
    ['serial', node.serial ?? '-'],
    ['model', node.model ?? '-'],
    ['MAC', node.macs.join(', ') || '-'],
    ['address', node.address ?? '-'],
    ['image', `${node.image}${nextText(node)}`],
    ['overlay', `${node.overlay}, ${bytes(node.overlayUsedBytes ?? 0)} used${node.reimage ? ', fresh at next boot' : ''}`],
    [
      'data',
      node.data
        ? `${bytes(node.data.usedBytes)} of ${bytes(node.data.virtualBytes)} used`
        : node.dataBytes
          ? `${bytes(node.dataBytes)}, made at next boot`
          : '-',
    ],
    ['state', node.hold ? `${node.state ?? '-'}, on hold` : (node.state ?? '-')],
    ['host key', node.hostKey ?? '-'],
  ];
  const text = facts.map(([key, value]) => `${key.padEnd(9)} ${value}`).join('\n');
  return node.boot ? `${text}\n\n${timeline(node.boot)}` : text;
}

/** While nobody knows what kind of machine it is, a name is a version of each architecture. */
function nextText({ nextImages }: NodeView): string {
  if (nextImages === undefined) {
    return '';
  }
  return nextImages.length === 0 ? ' (there is none)' : ` (${nextImages.map((digest) => digest.slice(0, 12)).join(' or ')})`;
}

/** A boot, an event a line, with seconds since the first packet. */
export function timeline(boot: BootView): string {
  const last = boot.events.at(-1)?.at ?? boot.startedAt;
  const head = `boot ${boot.id}: ${boot.outcome === 'running' ? `at ${boot.stage}` : boot.outcome}, ${duration(last - boot.startedAt)}, image ${boot.digest.slice(0, 12)}`;
  const lines = boot.events.map(
    (event) =>
      `  ${((event.at - boot.startedAt) / 1000).toFixed(1).padStart(6)} s  ${event.stage.padEnd(9)}  ${event.what}${event.detail === undefined ? '' : `  ${event.detail}`}`,
  );
  return [head, ...(boot.failure === undefined ? [] : [`  failed: ${boot.failure}`]), ...lines].join('\n');
}
