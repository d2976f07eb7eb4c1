/** Overlays as the server lists them, and as people read them. */
import { z } from 'zod';
import { ago, bytes, table } from '../format.ts';

const SpaceView = z.object({ totalBytes: z.number(), freeBytes: z.number(), usedFraction: z.number(), level: z.string() });

const OverlayView = z.object({
  digest: z.string(),
  image: z.string().optional(),
  usedBytes: z.number(),
  virtualBytes: z.number(),
  createdAt: z.number(),
  changedAt: z.number(),
  inUse: z.boolean(),
  lastBooted: z.boolean(),
  staged: z.string().optional(),
  snapshots: z.array(z.object({ label: z.string(), usedBytes: z.number(), createdAt: z.number() })),
});

const NodeOverlays = z.object({
  node: z.string(),
  registered: z.boolean(),
  mode: z.string().optional(),
  reimage: z.boolean().optional(),
  carry: z.object({ from: z.string(), paths: z.array(z.string()) }).optional(),
  overlays: z.array(OverlayView),
  data: z.object({ usedBytes: z.number(), virtualBytes: z.number(), inUse: z.boolean() }).optional(),
  mounted: z.string().optional(),
});

export const OverlayListing = z.object({ space: SpaceView, nodes: z.array(NodeOverlays) });
export type OverlayListing = z.infer<typeof OverlayListing>;

type NodeOverlays = z.infer<typeof NodeOverlays>;

export function overlayTable({ space, nodes }: OverlayListing, now: number): string {
  const rows = nodes.flatMap((node) =>
    node.overlays.map((overlay) => [
      node.node,
      `${overlay.image ?? 'deleted image'} ${overlay.digest.slice(0, 12)}`,
      bytes(overlay.usedBytes),
      bytes(overlay.virtualBytes),
      ago(overlay.createdAt, now).replace(' ago', ''),
      String(overlay.snapshots.length),
      stateOf(node, overlay),
    ]),
  );
  const head = ['NODE', 'VERSION', 'USED', 'SIZE', 'AGE', 'SNAPSHOTS', 'STATE'];
  return [
    rows.length === 0 ? 'No overlays yet. A persistent one is made at the first boot of its node.' : table(head, rows),
    ...remarks({ space, nodes }),
  ].join('\n');
}

function stateOf(node: NodeOverlays, overlay: z.infer<typeof OverlayView>): string {
  const words = [
    overlay.inUse ? 'in use' : overlay.lastBooted ? 'last booted' : '',
    overlay.lastBooted && node.reimage ? 'fresh at next boot' : '',
    overlay.staged === undefined ? '' : `${overlay.staged} at next boot`,
  ].filter((word) => word !== '');
  return words.join(', ') || '-';
}

function remarks({ space, nodes }: OverlayListing): string[] {
  const volumes = nodes.flatMap(({ node, data, registered }) =>
    data
      ? [
          `data volume of ${node}: ${bytes(data.usedBytes)} of ${bytes(data.virtualBytes)} used${registered ? '' : '; there is no such node any more'}`,
        ]
      : [],
  );
  const mounted = nodes.flatMap(({ node, mounted: at }) => (at === undefined ? [] : [`${node} is mounted at ${at}`]));
  const free = `${bytes(space.freeBytes)} of ${bytes(space.totalBytes)} free`;
  return [...volumes, ...mounted, `store: ${free}${spaceWarning(space.level)}`];
}

/** Nothing when there is plenty. */
export function spaceWarning(level: string): string {
  switch (level) {
    case 'warn':
      return '; WARNING: more than 80 % are used';
    case 'low':
      return '; WARNING: nearly full, no new overlays, data volumes and snapshots';
    case 'out':
      return '; WARNING: full, nodes with a disk here wait until there is space';
    default:
      return '';
  }
}

export function overlayText({ space, nodes }: OverlayListing, now: number): string {
  const parts = nodes.map((node) => {
    const versions = node.overlays.flatMap((overlay) => [
      `  ${overlay.image ?? 'deleted image'} ${overlay.digest.slice(0, 12)}: ${bytes(overlay.usedBytes)} of ${bytes(overlay.virtualBytes)} used, made ${ago(overlay.createdAt, now)}, written ${ago(overlay.changedAt, now)}, ${stateOf(node, overlay)}`,
      ...overlay.snapshots.map((snapshot) => `    ${snapshot.label}: ${bytes(snapshot.usedBytes)}, taken ${ago(snapshot.createdAt, now)}`),
    ]);
    const carry = node.carry
      ? [
          `  at the next boot of another version: ${node.carry.paths.map((path) => `/${path}`).join(' ')} from ${node.carry.from.slice(0, 12)}`,
        ]
      : [];
    return [`${node.node}: ${node.mode ?? 'not registered'}`, ...versions, ...carry].join('\n');
  });
  return [...parts, ...remarks({ space, nodes })].join('\n');
}
