import type { Command } from 'commander';
import { z } from 'zod';
import { withServer } from '../admin-client.ts';
import type { Context } from '../context.ts';
import { followJob } from '../follow-job.ts';
import { archFlag, ImageView, refHelp, versionText } from './image-view.ts';

const Model = z.object({
  model: z.string(),
  title: z.string(),
  canBoot: z.boolean(),
  findings: z.array(z.object({ level: z.enum(['fail', 'warn']), what: z.string() })),
});
const Checked = z.object({ checks: z.array(z.object({ ...ImageView.shape, models: z.array(Model) })) });

export function addImageCheck(image: Command, contextOf: () => Context): void {
  image
    .command('check')
    .description('what is missing or too big for each board model, before the first boot; exit code 1 when one cannot boot')
    .argument('<ref>', refHelp)
    .option('--model <model...>', 'only these, for example pi4 pc; by default all that the image is for')
    .option(...archFlag)
    .action(async (ref: string, options: { model?: string[]; arch?: string }) => {
      const context = contextOf();
      const { model, ...selection } = options;
      const request = { ref, ...selection, ...(model === undefined ? {} : { models: model }) };
      const { checks } = await withServer(context, async (client) =>
        Checked.parse(await followJob(client, context, await client.call('POST', '/images/check', request))),
      );
      context.print(context.json ? JSON.stringify(checks) : checks.map(checkText).join('\n\n'));
      process.exitCode = checks.every(({ models }) => models.every(({ canBoot }) => canBoot)) ? 0 : 1;
    });
}

function checkText({ models, ...image }: z.infer<typeof Checked>['checks'][number]): string {
  const lines = models.flatMap(({ model, title, canBoot, findings }) => [
    `  ${canBoot ? 'yes' : 'NO '}  ${model.padEnd(10)}  ${title}`,
    ...findings.map(({ level, what }) => `         ${level === 'fail' ? 'missing or wrong' : 'mind'}: ${what}`),
  ]);
  return [`can boot ${versionText(image)}?`, ...lines].join('\n');
}
