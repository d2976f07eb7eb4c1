import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { parsed } from '../config/parsed.ts';
import { projectRoot } from '../config/places.ts';
import { systemCode, UserError } from '../domain/errors.ts';
import { architectures, parseImageName } from '../domain/image.ts';

export const Recipe = z.strictObject({
  name: parsed(parseImageName),
  suite: z.string().regex(/^[a-z]+$/),
  architectures: z.array(z.enum(architectures)).min(1),
  packages: z.array(z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/, 'is not a Debian package name')),
});
export type Recipe = z.infer<typeof Recipe>;

/** A recipe of rootfs/recipes by its name. @throws UserError */
export async function loadRecipe(name: string): Promise<Recipe> {
  const file = join(projectRoot, 'rootfs/recipes', `${parseImageName(name)}.yaml`);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') {
      throw error;
    }
    throw new UserError('not-found', `There is no recipe "${name}"`, {
      hint: `Recipes are files in rootfs/recipes, for example debian-13`,
    });
  }
  const result = Recipe.safeParse(parse(text));
  if (!result.success) {
    throw new UserError('bad-input', `${file} is wrong:\n${z.prettifyError(result.error)}`);
  }
  return result.data;
}

/** Changes whenever the tree that a recipe makes may change. */
export function recipeKey(recipe: Recipe, arch: string, builderVersion: number): string {
  return createHash('sha256').update(JSON.stringify({ recipe, arch, builderVersion })).digest('hex').slice(0, 16);
}
