import type { Command } from 'commander';
import { z } from 'zod';
import { withServer } from '../admin-client.ts';
import type { Context } from '../context.ts';
import { bytes, table } from '../format.ts';
import { wholeNumber } from '../sim/sim-options.ts';
import { archFlag, imagePath, versionText } from './image-view.ts';

const Version = z.object({ name: z.string(), digest: z.string(), arch: z.string() });
const Removed = z.object({ ...Version.shape, bytes: z.number() });
const RemovedOne = z.union([Removed, z.object({ digest: z.string() })]);
const Collection = z.object({
  dryRun: z.boolean(),
  trees: z.array(z.object({ name: z.string(), bytes: z.number(), usedAt: z.string() })),
  removed: z.array(Removed),
  bytes: z.number(),
  kept: z.array(z.object({ ...Version.shape, why: z.array(z.string()) })),
});

export function addImageRemove(image: Command, contextOf: () => Context): void {
  image
    .command('rm')
    .description('remove a version; refused while a node, a running boot, a tag or an overlay needs it')
    .argument('<ref>', 'name:tag, name:digest, or a whole digest, which removes a damaged one too')
    .option(...archFlag)
    .action(async (ref: string, options: { arch?: string }) => {
      const context = contextOf();
      const removed = RemovedOne.parse(await withServer(context, (client) => client.call('DELETE', imagePath(ref, options.arch))));
      const text = 'bytes' in removed ? `removed ${versionText(removed)}, ${bytes(removed.bytes)}` : `removed ${removed.digest}`;
      context.print(context.json ? JSON.stringify(removed) : text);
    });

  image
    .command('gc')
    .description(
      'remove the versions that nothing needs (no node, no running boot, no tag, no overlay), and built trees that no build used for 30 days',
    )
    .option('--dry-run', 'only tell what would be removed')
    .option('--keep <count>', 'newest versions of each name and architecture that stay in any case', '1')
    .action(async (options: { dryRun?: boolean; keep: string }) => {
      const context = contextOf();
      const request = { dryRun: options.dryRun ?? false, keep: wholeNumber('--keep', options.keep) };
      const result = Collection.parse(await withServer(context, (client) => client.call('POST', '/images/gc', request)));
      context.print(context.json ? JSON.stringify(result) : collectionText(result));
    });
}

function collectionText({ dryRun, trees, removed, bytes: imageBytes, kept }: z.infer<typeof Collection>): string {
  const verb = dryRun ? 'would remove' : 'removed';
  const lines = [
    ...removed.map((entry) => `${verb} ${versionText(entry)}, ${bytes(entry.bytes)}`),
    ...trees.map((tree) => `${verb} the built tree ${tree.name}, ${bytes(tree.bytes)}, last used on ${tree.usedAt.slice(0, 10)}`),
  ];
  const total = trees.reduce((sum, tree) => sum + tree.bytes, imageBytes);
  const rows = kept.map((entry) => [versionText(entry), entry.why.join('; ')]);
  return [
    ...lines,
    lines.length === 0 ? 'nothing to remove' : `${verb} ${bytes(total)} in all`,
    ...(rows.length === 0 ? [] : ['', table(['KEPT', 'WHY'], rows)]),
  ].join('\n');
}
