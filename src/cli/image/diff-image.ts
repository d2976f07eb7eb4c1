import type { Command } from 'commander';
import { z } from 'zod';
import { withServer } from '../admin-client.ts';
import type { Context } from '../context.ts';
import { followJob } from '../follow-job.ts';
import { ImageView, refHelp, versionText } from './image-view.ts';

const Package = z.object({ name: z.string(), version: z.string() });
const Entry = z.looseObject({ path: z.string(), type: z.string() });
const Counts = z.object({ added: z.number(), removed: z.number(), changed: z.number() });

const Difference = z.object({
  from: ImageView,
  to: ImageView,
  packages: z.object({
    added: z.array(Package),
    removed: z.array(Package),
    changed: z.array(z.object({ name: z.string(), from: z.string(), to: z.string() })),
  }),
  files: z.object({
    added: z.array(Entry),
    removed: z.array(Entry),
    changed: z.array(z.object({ path: z.string(), what: z.array(z.string()) })),
  }),
  notListed: Counts,
});
type Difference = z.infer<typeof Difference>;

export function addImageDiff(image: Command, contextOf: () => Context): void {
  image
    .command('diff')
    .description('what is different in another version, by package and by file')
    .argument('<from>', refHelp)
    .argument('<to>', refHelp)
    .option('--packages', 'only the packages')
    .option('--files', 'only the files')
    .option('--arch <arch>', 'which architecture to compare, where both references stand for several')
    .action(async (from: string, to: string, options: { packages?: boolean; files?: boolean; arch?: string }) => {
      const context = contextOf();
      const request = { from, to, ...(options.arch === undefined ? {} : { arch: options.arch }) };
      const all = await withServer(context, async (client) =>
        Difference.parse(await followJob(client, context, await client.call('POST', '/images/diff', request))),
      );
      const isBoth = (options.packages ?? false) === (options.files ?? false);
      const [packages, files] = [isBoth || options.packages === true, isBoth || options.files === true];
      context.print(context.json ? JSON.stringify(parts(all, packages, files)) : diffText(all, packages, files));
    });
}

function parts(all: Difference, packages: boolean, files: boolean): object {
  const { packages: byPackage, files: byFile, notListed, ...rest } = all;
  return { ...rest, ...(packages ? { packages: byPackage } : {}), ...(files ? { files: byFile, notListed } : {}) };
}

function diffText(all: Difference, packages: boolean, files: boolean): string {
  return [
    `from ${versionText(all.from)} to ${versionText(all.to)}`,
    ...(packages ? packageLines(all.packages) : []),
    ...(files ? fileLines(all) : []),
  ].join('\n');
}

function packageLines({ added, removed, changed }: Difference['packages']): string[] {
  return [
    `packages: ${counts(added.length, removed.length, changed.length)}`,
    ...added.map(({ name, version }) => `  + ${name} ${version}`),
    ...removed.map(({ name, version }) => `  - ${name} ${version}`),
    ...changed.map(({ name, from, to }) => `  ~ ${name} ${from} -> ${to}`),
  ];
}

function fileLines({ files: { added, removed, changed }, notListed }: Difference): string[] {
  const hidden = notListed.added + notListed.removed + notListed.changed;
  return [
    `files: ${counts(added.length + notListed.added, removed.length + notListed.removed, changed.length + notListed.changed)}`,
    ...added.map(({ path, type }) => `  + ${path}${type === 'file' ? '' : ` (${type})`}`),
    ...removed.map(({ path, type }) => `  - ${path}${type === 'file' ? '' : ` (${type})`}`),
    ...changed.map(({ path, what }) => `  ~ ${path} (${what.join(', ')})`),
    ...(hidden > 0 ? [`  and ${hidden} more`] : []),
  ];
}

function counts(added: number, removed: number, changed: number): string {
  return added + removed + changed === 0 ? 'no difference' : `${added} added, ${removed} removed, ${changed} changed`;
}
