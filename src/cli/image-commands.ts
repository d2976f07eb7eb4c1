import type { Command } from 'commander';
import { withServer } from './admin-client.ts';
import type { Context } from './context.ts';
import { addImageBuild } from './image/build-image.ts';
import { addImageCommit } from './image/commit-image.ts';
import { imageTable, listImages } from './image/image-view.ts';

export function addImageCommands(program: Command, contextOf: () => Context): void {
  const image = program.command('image').description('build and list what nodes boot');
  addImageBuild(image, contextOf);
  addImageCommit(image, contextOf);

  image
    .command('list')
    .description('all image versions, newest first')
    .action(async () => {
      const context = contextOf();
      const images = await withServer(context, listImages);
      context.print(context.json ? JSON.stringify(images) : imageTable(images));
    });
}
