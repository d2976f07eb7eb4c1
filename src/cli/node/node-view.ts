/** How nodes and their boots look to people. */
import { z } from 'zod';
import { bootStages } from '../../domain/boot-session.ts';
import type { Context } from '../context.ts';
import { bytes, duration, table } from '../format.ts';
import { VitalsView, vitalsFacts } from './vitals-view.ts';

export const BootView = z.object({
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
  group: z.string().optional(),
  labels: z.record(z.string(), z.string()).optional(),
  image: z.string(),
  overlay: z.string(),
  reimage: z.boolean(),
  hold: z.boolean().optional(),
  state: z.string().optional(),
  overlayUsedBytes: z.number().optional(),
  dataBytes: z.number().optional(),
  data: z.object({ usedBytes: z.number(), virtualBytes: z.number() }).optional(),
  hostKey: z.string().optional(),
  vitals: VitalsView.optional(),
  boot: BootView.optional(),
  nextImages: z.array(z.string()).optional(),
});
export type NodeView = z.infer<typeof NodeView>;

/** For the help of every command that takes a set. */
export const nodeSetHelp = 'red5, red[1-3,7], @group, @all, label=value, ~expression; -red2 leaves one out';

export function nodePath(names: string): string {
  return `/nodes/${encodeURIComponent(names)}`;
}

export function show(context: Context, value: object, text: () => string): void {
  context.print(context.json ? JSON.stringify(value) : text());
}

export function nodeTable(nodes: readonly NodeView[]): string {
  if (nodes.length === 0) {
    return 'No nodes yet. Register one: cardless node add red5 --serial 91cdf03d';
  }
  const rows = nodes.map((node) => [
    node.name,
    node.serial ?? '-',
    node.model ?? '-',
    node.address ?? '-',
    node.group ?? '-',
    node.image,
    node.reimage ? `${node.overlay}, fresh at next boot` : node.overlay,
    node.hold ? `${node.state ?? '-'}, on hold` : (node.state ?? '-'),
  ]);
  return table(['NAME', 'SERIAL', 'MODEL', 'ADDRESS', 'GROUP', 'IMAGE', 'OVERLAY', 'STATE'], rows);
}

export function nodeText(node: NodeView): string {
  const facts: [string, string][] = [
    ['name', node.name],
    ['serial', node.serial ?? '-'],
    ['model', node.model ?? '-'],
    ['MAC', node.macs.join(', ') || '-'],
    ['address', node.address ?? '-'],
    ['group', node.group ?? '-'],
    [
      'labels',
      Object.entries(node.labels ?? {})
        .map(([key, value]) => `${key}=${value}`)
        .join(', ') || '-',
    ],
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
    ...vitalsFacts(node.vitals, Date.now()),
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
