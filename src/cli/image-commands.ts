import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { z } from 'zod';
import { UserError, type UserErrorCode } from '../domain/errors.ts';
import { parseArchitecture } from '../domain/image.ts';
import { type AdminClient, withServer } from './admin-client.ts';
import { type Context, requireRoot } from './context.ts';
import { bytes, duration, progressLine, table } from './format.ts';
import { ensureTools } from './setup.ts';

const ImageView = z.object({
  name: z.string(),
  digest: z.string(),
  arch: z.string(),
  kernelVersion: z.string(),
  rootFormat: z.string(),
  rootBytes: z.number(),
  bootBytes: z.number(),
  createdAt: z.string(),
});
export type ImageView = z.infer<typeof ImageView>;

const JobView = z.object({
  id: z.string(),
  title: z.string(),
  state: z.enum(['running', 'done', 'failed', 'cancelled']),
  phase: z.string(),
  fraction: z.number(),
  startedAt: z.number(),
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }).optional(),
  result: z.object({ images: z.array(ImageView) }).optional(),
});

export function addImageCommands(program: Command, contextOf: () => Context): void {
  const image = program.command('image').description('build and list what nodes boot');

  image
    .command('build')
    .description('build an image from a recipe in rootfs/recipes; Ctrl-C cancels it')
    .argument('[recipe]', 'name of the recipe', 'debian-13')
    .option('--arch <arch...>', 'only these architectures: arm64, amd64')
    .option('--fresh', 'fetch all packages again instead of using the cached tree')
    .action(async (recipe: string, options: { arch?: string[]; fresh?: boolean }) => {
      const context = contextOf();
      requireRoot('Building an image');
      await ensureTools('build', context);
      const built = await withServer(context, (client) => buildImages(client, context, recipe, options.arch, options.fresh ?? false));
      context.print(context.json ? JSON.stringify(built) : imageTable(built));
    });

  image
    .command('list')
    .description('all image versions, newest first')
    .action(async () => {
      const context = contextOf();
      const images = await withServer(context, listImages);
      context.print(context.json ? JSON.stringify(images) : imageTable(images));
    });
}

export async function listImages(client: AdminClient): Promise<ImageView[]> {
  return z.array(ImageView).parse(await client.call('GET', '/images'));
}

/** Starts the job and follows it. Cancelling `context.signal` cancels the job. */
export async function buildImages(
  client: AdminClient,
  context: Context,
  recipe: string,
  arch: readonly string[] | undefined,
  fresh: boolean,
): Promise<ImageView[]> {
  const request = { recipe, fresh, ...(arch ? { architectures: arch.map(parseArchitecture) } : {}) };
  let job = JobView.parse(await client.call('POST', '/images/build', request));
  const live = process.stderr.isTTY;
  let lastLine = '';
  let cancelSent = false;
  while (job.state === 'running') {
    if (context.signal.aborted && !cancelSent) {
      cancelSent = true;
      context.note('\ncancelling');
      await client.call('DELETE', `/jobs/${job.id}`);
    }
    const line = live ? progressLine(job.phase, job.fraction, Date.now() - job.startedAt) : job.phase;
    if (line !== lastLine) {
      lastLine = line;
      if (live) {
        process.stderr.write(`\r\u001b[K${line}`);
      } else {
        context.note(progressLine(job.phase, job.fraction, Date.now() - job.startedAt));
      }
    }
    await sleep(300);
    job = JobView.parse(await client.call('GET', `/jobs/${job.id}`));
  }
  if (live) {
    process.stderr.write('\r\u001b[K');
  }
  if (!job.result) {
    const { code, message, hint } = job.error ?? { code: 'failed', message: `${job.title} ended without a result`, hint: undefined };
    throw new UserError(code as UserErrorCode, message, hint === undefined ? {} : { hint });
  }
  context.note(`${job.title}: done in ${duration(Date.now() - job.startedAt)}`);
  return job.result.images;
}

function imageTable(images: readonly ImageView[]): string {
  if (images.length === 0) {
    return 'No images yet. Build one: sudo ./cardless image build';
  }
  const rows = images.map((image) => [
    image.name,
    image.arch,
    image.digest.slice(0, 12),
    image.kernelVersion,
    `${bytes(image.rootBytes)} ${image.rootFormat}`,
    bytes(image.bootBytes),
    image.createdAt.slice(0, 16),
  ]);
  return table(['NAME', 'ARCH', 'VERSION', 'KERNEL', 'ROOT', 'BOOT FILES', 'BUILT'], rows);
}
