import type { Image, ImageName } from '../domain/image.ts';
import type { NodeName, OverlayMode } from '../domain/node.ts';
import type { Carry, Overlay } from '../domain/overlay.ts';
import type { DataVolume } from '../overlays/data-volumes.ts';
import { holdersOf } from '../process/disk-holders.ts';
import { namesOf } from './fleet/select-nodes.ts';
import type { OverlayServiceOptions } from './overlay-target.ts';

interface NodeOverlays {
  readonly node: NodeName;
  /** A node that was removed may have left its data volume. */
  readonly registered: boolean;
  readonly mode?: OverlayMode;
  readonly reimage?: boolean;
  readonly carry?: Carry;
  readonly overlays: readonly (Overlay & { readonly image?: ImageName; readonly inUse: boolean; readonly lastBooted: boolean })[];
  readonly data?: DataVolume & { readonly inUse: boolean };
  readonly mounted?: string;
}

/** All nodes that have disks, also those that are not registered any more, or the named ones. @throws UserError not-found */
export async function overlayViews(options: OverlayServiceOptions, names: string | undefined): Promise<object> {
  const { overlays, data, space } = options;
  const all = await withDisks(options);
  const wanted = names === undefined ? all : namesOf(options.nodes, names, all);
  const held = new Set((await holdersOf([overlays.directory, data.directory])).map(({ file }) => file));
  const known = await options.images.list();
  const listed = await Promise.all(wanted.map((name) => nodeView(name, held, known, options)));
  return { space: await space.now(), nodes: listed };
}

/** Registered, or with disks that were left. */
export async function withDisks({ overlays, data, nodes }: OverlayServiceOptions): Promise<NodeName[]> {
  const known = nodes.list().map((node) => node.name);
  return [...new Set([...known, ...(await overlays.nodes()), ...(await data.nodes())])];
}

async function nodeView(
  name: NodeName,
  held: ReadonlySet<string>,
  known: readonly Image[],
  options: OverlayServiceOptions,
): Promise<NodeOverlays> {
  const { overlays, data, nodes, sessions, views } = options;
  const node = nodes.get(name);
  const volume = await data.of(name);
  const mounted = await views.of(name);
  return {
    node: name,
    registered: node !== undefined,
    ...(node ? { mode: node.overlay, reimage: node.reimage } : {}),
    ...(node?.carry ? { carry: node.carry } : {}),
    overlays: (await overlays.list(name)).map((overlay) => {
      const image = known.find(({ digest }) => digest === overlay.digest);
      return {
        ...overlay,
        ...(image ? { image: image.name } : {}),
        inUse: held.has(overlays.pathOf(name, overlay.digest)),
        lastBooted: sessions.of(name)?.digest === overlay.digest,
      };
    }),
    ...(volume ? { data: { ...volume, inUse: held.has(data.pathOf(name)) } } : {}),
    ...(mounted ? { mounted: mounted.directory } : {}),
  };
}
