import { resolve } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import { parseArchitecture } from '../../domain/image.ts';
import { isUrl } from '../../images/import/obtain.ts';
import { type ImportReport, reportText } from '../../images/import/report.ts';
import { withServer } from '../admin-client.ts';
import { type Context, requireRoot } from '../context.ts';
import { followJob } from '../follow-job.ts';
import { ensureTools } from '../setup.ts';
import { ImageView, imageTable } from './image-view.ts';

interface Options {
  readonly name: string;
  readonly arch?: string;
  readonly sha256?: string;
  readonly reportOnly?: boolean;
}

const examples = `
SOURCE is one of:
  a disk image, as Raspberry Pi OS comes: .img, .img.xz, .img.gz, .img.zst
  a tar of a root, plain or compressed, or the directory of one
  a container image with a kernel in it: an OCI layout, or what "docker save" writes
  https://... of any of these, with --sha256

What a network root must not have is removed or disabled, and listed; the list stays with the image.

Examples:
  cardless image import 2026-06-18-raspios-trixie-arm64-lite.img.xz --name raspios
  cardless image import ./tree --name mine --report-only
  cardless image import https://example.org/os.img.xz --name os --sha256 0123...`;

export function addImageImport(image: Command, contextOf: () => Context): void {
  image
    .command('import')
    .description('make an image of a system that you have; Ctrl-C cancels it')
    .argument('<source>', 'disk image, tar, directory, container image or https:// URL')
    .requiredOption('--name <name>', 'the name of the image')
    .option('--arch <arch>', 'which one of an image for several architectures; else what it must be')
    .option('--sha256 <digits>', 'refuse it unless it has this checksum; needed for URLs')
    .option('--report-only', 'say what would be changed, and make no image')
    .addHelpText('after', examples)
    .action(async (source: string, options: Options) => {
      const context = contextOf();
      requireRoot('Importing an image');
      const architecture = options.arch === undefined ? undefined : parseArchitecture(options.arch);
      await ensureTools('import', context);
      const request = {
        source: isUrl(source) ? source : resolve(source),
        name: options.name,
        ...(architecture ? { architecture } : {}),
        ...(options.sha256 === undefined ? {} : { sha256: options.sha256 }),
        reportOnly: options.reportOnly ?? false,
      };
      const result = await withServer(context, async (client) =>
        followJob(client, context, await client.call('POST', '/images/import', request)),
      );
      const { report, image: made } = Imported.parse(result);
      if (context.json) {
        context.print(JSON.stringify({ report, ...(made ? { image: made } : {}) }));
      } else {
        context.print(reportText(report));
        context.print(made ? `\n${imageTable([made])}` : '\nNo image was made (--report-only).');
      }
    });
}

/** The server is of the same version; its report is only passed on. */
const Imported = z.object({
  report: z.custom<ImportReport>((value) => typeof value === 'object' && value !== null),
  image: ImageView.optional(),
});
