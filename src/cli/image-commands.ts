import type { Command } from 'commander';
import type { Context } from './context.ts';
import { addImageBuild } from './image/build-image.ts';
import { addImageCheck } from './image/check-image.ts';
import { addImageCommit } from './image/commit-image.ts';
import { addImageDiff } from './image/diff-image.ts';
import { addImageImport } from './image/import-image.ts';
import { addImageList } from './image/list-image.ts';
import { addImageRemove } from './image/remove-image.ts';
import { addImageShow } from './image/show-image.ts';
import { addImageTag } from './image/tag-image.ts';
import { addImageVerify } from './image/verify-image.ts';

export function addImageCommands(program: Command, contextOf: () => Context): void {
  const image = program.command('image').description('what nodes boot: build, import, compare, check, name and remove its versions');
  addImageBuild(image, contextOf);
  addImageCommit(image, contextOf);
  addImageImport(image, contextOf);
  addImageList(image, contextOf);
  addImageShow(image, contextOf);
  addImageTag(image, contextOf);
  addImageDiff(image, contextOf);
  addImageCheck(image, contextOf);
  addImageVerify(image, contextOf);
  addImageRemove(image, contextOf);
}
