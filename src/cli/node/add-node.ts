import type { Command } from 'commander';
import { z } from 'zod';
import { withServer } from '../admin-client.ts';
import type { Context } from '../context.ts';
import { type NodeOptions, nodeRequest } from './node-options.ts';
import { NodeView, show } from './node-view.ts';

const Added = NodeView.extend({ added: z.boolean() });

interface AddOptions extends NodeOptions {
  readonly serial?: string;
  readonly mac?: string;
}

export function addNodeAdd(node: Command, contextOf: () => Context): void {
  node
    .command('add')
    .description('register a board, or several with a range; adding it again changes nothing')
    .argument('<name>', 'host name, or a range of them: red[5-7], red[001-100], red[a-c], red[1-3,7]')
    .option('--serial <serial>', 'serial number (Pi: 8 hex digits; PC: UUID); a range or a comma list for several')
    .option('--mac <mac>', 'MAC address, when the serial is not known')
    .option('--ip <address>', 'fixed address, or a range: 192.168.1.[5-7]')
    .option('--group <group>', 'what it inherits from')
    .option('--image <ref>', 'image to boot: name, name:tag or name:digest (default: of its group, or the setting defaultImage)')
    .option('--force', 'also with an image that is not there yet')
    .option('--overlay <mode>', 'persistent or ephemeral (default: of its group, or persistent)')
    .option('--data <size>', 'a data volume, which survives reimage: 8G')
    .option('--no-data', 'no data volume, even if its image wants one')
    .option('--key <file...>', 'files with public SSH keys that may log in as root')
    .option('--label <name=value...>', 'labels, by which sets of nodes are named')
    .option('--dry-run', 'check, and tell what would be added')
    .addHelpText('after', '\nWithout --serial and --mac it waits for a board: cardless node claim --next red[5-7]')
    .action(async (name: string, options: AddOptions) => {
      const context = contextOf();
      const request = { name, ...(await nodeRequest(options)) };
      const nodes = z.array(Added).parse(await withServer(context, (client) => client.call('POST', '/nodes', request)));
      const names = (added: boolean): string =>
        nodes
          .filter((entry) => entry.added === added)
          .map((entry) => entry.name)
          .join(', ');
      const lines = [
        [options.dryRun ? 'would add' : 'added', names(true)],
        ['there already:', names(false)],
      ] as const;
      show(context, nodes, () => lines.flatMap(([what, who]) => (who === '' ? [] : [`${what} ${who}`])).join('\n'));
    });
}
