import type { Command } from 'commander';
import { z } from 'zod';
import { UserError } from '../../domain/errors.ts';
import { type AdminClient, withServer } from '../admin-client.ts';
import type { Context } from '../context.ts';
import { followJob } from '../follow-job.ts';
import { bytes, table } from '../format.ts';
import { archFlag, ImageView, imagePath, refHelp, versionText } from './image-view.ts';

/** What an import or a commit wrote in the manifest comes along as it is. */
const Shown = z.looseObject({
  ...ImageView.shape,
  files: z.array(z.object({ path: z.string(), bytes: z.number(), sha256: z.string() })),
  neededBy: z.array(z.string()),
  packages: z.number().exactOptional(),
  rootFiles: z.number().exactOptional(),
});
type Shown = z.infer<typeof Shown>;

const shownAbove = [...Object.keys(Shown.shape)];

export function addImageShow(image: Command, contextOf: () => Context): void {
  image
    .command('show')
    .description('everything about a version: files, packages, tags, parent, who needs it')
    .argument('<ref>', refHelp)
    .option(...archFlag)
    .action(async (ref: string, options: { arch?: string }) => {
      const context = contextOf();
      const shown = await withServer(context, (client) => showImages(client, context, ref, options.arch));
      context.print(context.json ? JSON.stringify(shown) : shown.map(showText).join('\n\n'));
    });
}

async function showImages(client: AdminClient, context: Context, ref: string, arch: string | undefined): Promise<Shown[]> {
  const ask = async (): Promise<Shown[]> => z.array(Shown).parse(await client.call('GET', imagePath(ref, arch)));
  const shown = await ask();
  if (shown.every(({ packages }) => packages !== undefined)) {
    return shown;
  }
  try {
    await followJob(client, context, await client.call('POST', '/images/contents', { ref, ...(arch === undefined ? {} : { arch }) }));
    return await ask();
  } catch (error) {
    if (!(error instanceof UserError) || context.signal.aborted) {
      throw error;
    }
    context.note(`its packages are not known: ${error.message}`);
    return shown;
  }
}

function showText(image: Shown): string {
  const facts: [string, string][] = [
    ['image', versionText(image)],
    ['digest', image.digest],
    ['tags', (image.tags ?? []).join(', ') || '-'],
    ['built', image.createdAt],
    ['parent', image.parent ?? '-'],
    ['kernel', image.kernelVersion],
    ['root', `${bytes(image.rootBytes)}, ${image.rootFormat}${image.rootFiles === undefined ? '' : `, ${image.rootFiles} files`}`],
    ['packages', image.packages === undefined ? 'not known' : String(image.packages)],
    ['needed by', image.neededBy.join('\n            ') || 'nobody'],
  ];
  const more = Object.entries(image)
    .filter(([key]) => !shownAbove.includes(key))
    .map(([key, value]): [string, string] => [key, typeof value === 'string' ? value : JSON.stringify(value, undefined, 2)]);
  const text = [...facts, ...more].map(([key, value]) => `${key.padEnd(11)} ${value}`).join('\n');
  const rows = image.files.map((file) => [file.path, bytes(file.bytes), file.sha256.slice(0, 12)]);
  return `${text}\n\n${table(['FILE', 'SIZE', 'SHA-256'], rows)}`;
}
