import type { Command } from 'commander';
import { z } from 'zod';
import { withServer } from '../admin-client.ts';
import type { Context } from '../context.ts';
import { type NodeOptions, nodeRequest } from './node-options.ts';
import { NodeView, nodePath, nodeSetHelp, show } from './node-view.ts';

interface SetOptions extends NodeOptions {
  readonly carry?: string[];
  readonly inherit?: string[];
}

export function addNodeSet(node: Command, contextOf: () => Context): void {
  node
    .command('set')
    .description('change nodes; cardless plan tells what needs a boot')
    .argument('<nodes>', nodeSetHelp)
    .option('--image <ref>', 'image to boot: name, name:tag or name:digest; an earlier version is the way back')
    .option('--force', 'also with an image that is not there yet')
    .option('--overlay <mode>', 'persistent or ephemeral')
    .option('--carry <path...>', 'copy these paths from the overlay of the version that it booted last into that of the next one')
    .option('--data <size>', 'a data volume, which survives reimage, or a larger one: 8G')
    .option('--no-data', 'boot without the data volume; what is on it stays')
    .option('--group <group>', 'what they inherit from; "none" for no group')
    .option('--ip <address>', 'fixed address, or a range for several; "none" for any free one')
    .option('--key <file...>', 'files with public SSH keys that may log in as root, in place of those before')
    .option('--label <name=value...>', 'labels besides those that are there; name= takes one away')
    .option('--inherit <setting...>', 'inherit again: image, overlay, overlaySize, dataVolume, authorizedKeys, labels')
    .option('--dry-run', 'check, and tell what the nodes would be')
    .action(async (names: string, { group, ip, ...options }: SetOptions) => {
      const context = contextOf();
      const change = {
        ...(await nodeRequest(options)),
        ...(group === undefined ? {} : { group: group === 'none' ? null : group }),
        ...(ip === undefined ? {} : { ip: ip === 'none' ? null : ip }),
      };
      const nodes = z.array(NodeView).parse(await withServer(context, (client) => client.call('PATCH', nodePath(names), change)));
      const facts = (entry: NodeView): string =>
        [
          `image ${entry.image}`,
          `overlay ${entry.overlay}`,
          ...(entry.group ? [`group ${entry.group}`] : []),
          ...(entry.address ? [entry.address] : []),
        ].join(', ');
      show(context, nodes, () => nodes.map((entry) => `${entry.name}: ${facts(entry)}`).join('\n'));
    });
}
