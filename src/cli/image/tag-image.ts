import type { Command } from 'commander';
import { z } from 'zod';
import { withServer } from '../admin-client.ts';
import type { Context } from '../context.ts';
import { archFlag, refHelp, versionText } from './image-view.ts';

const Tagged = z.array(
  z.object({ name: z.string(), arch: z.string(), tag: z.string(), digest: z.string(), movedFrom: z.string().exactOptional() }),
);

export function addImageTag(image: Command, contextOf: () => Context): void {
  image
    .command('tag')
    .description('give a version a name of your own; another version that had it has it no longer')
    .argument('<ref>', refHelp)
    .argument('<tag>', 'for example stable')
    .option(...archFlag)
    .action(async (ref: string, tag: string, options: { arch?: string }) => {
      const context = contextOf();
      const request = { ref, tag, ...options };
      const tagged = Tagged.parse(await withServer(context, (client) => client.call('POST', '/images/tag', request)));
      const lines = tagged.map(
        (entry) =>
          `${entry.name}:${entry.tag} is ${versionText(entry)}${entry.movedFrom === undefined ? '' : `, it was ${entry.movedFrom.slice(0, 12)}`}`,
      );
      context.print(context.json ? JSON.stringify(tagged) : lines.join('\n'));
    });

  image
    .command('untag')
    .description('take a tag away; the version stays')
    .argument('<name:tag>', 'for example debian-13:stable')
    .option(...archFlag)
    .action(async (ref: string, options: { arch?: string }) => {
      const context = contextOf();
      const untagged = Tagged.parse(await withServer(context, (client) => client.call('POST', '/images/untag', { ref, ...options })));
      const lines = untagged.map((entry) => `${versionText(entry)} has no longer the tag ${entry.tag}`);
      context.print(context.json ? JSON.stringify(untagged) : lines.join('\n'));
    });
}
