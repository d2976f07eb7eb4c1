import type { Command } from 'commander';
import { z } from 'zod';
import { withServer } from '../admin-client.ts';
import type { Context } from '../context.ts';
import { followJob } from '../follow-job.ts';
import { bytes } from '../format.ts';

const Verified = z.object({
  images: z.number(),
  bytes: z.number(),
  problems: z.array(z.object({ digest: z.string(), name: z.string().exactOptional(), file: z.string(), what: z.string() })),
});

export function addImageVerify(image: Command, contextOf: () => Context): void {
  image
    .command('verify')
    .description('read every byte of images and compare with what was published; exit code 1 when something is damaged')
    .argument('[ref...]', 'references; without any, all images')
    .action(async (refs: string[]) => {
      const context = contextOf();
      const result = await withServer(context, async (client) =>
        Verified.parse(await followJob(client, context, await client.call('POST', '/images/verify', { refs }))),
      );
      context.print(context.json ? JSON.stringify(result) : verifyText(result));
      process.exitCode = result.problems.length === 0 ? 0 : 1;
    });
}

function verifyText({ images, bytes: read, problems }: z.infer<typeof Verified>): string {
  const lines = problems.map(
    ({ name, digest, file, what }) => `${name === undefined ? '' : `${name}:`}${digest.slice(0, 12)}: ${file} ${what}`,
  );
  const summary = `${images} ${images === 1 ? 'image' : 'images'}, ${bytes(read)} read: ${problems.length === 0 ? 'all is as published' : `${problems.length} damaged`}`;
  const hint = '  The same content built or imported again mends it; or remove it with cardless image rm.';
  return [...lines, summary, ...(problems.length === 0 ? [] : [hint])].join('\n');
}
