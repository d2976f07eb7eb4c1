/** Finds a recipe by name or path, and all that it extends. */
import { createHash } from 'node:crypto';
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve, sep } from 'node:path';
import { projectRoot } from '../../config/places.ts';
import { systemCode, UserError } from '../../domain/errors.ts';
import { parseImageName } from '../../domain/image.ts';
import { nearest } from '../../domain/nearest.ts';
import { sha256File } from '../publish.ts';
import { readRecipeFile } from './read-recipe.ts';
import { joinParts, type PlacedFile, type Recipe, type RecipePart } from './recipe.ts';
import type { RecipeFile } from './schema.ts';

const shipped = join(projectRoot, 'rootfs/recipes');

/** A name of rootfs/recipes, or an absolute path. @throws UserError */
export async function loadRecipe(recipe: string): Promise<Recipe> {
  const file = isAbsolute(recipe) ? recipe : join(shipped, `${parseImageName(recipe)}.yaml`);
  const chain = await loadChain(file, []);
  return joinParts(chain, file);
}

export async function shippedRecipes(): Promise<string[]> {
  const names = await readdir(shipped);
  return names
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => basename(name, '.yaml'))
    .toSorted();
}

/** The farthest ancestor first. */
async function loadChain(file: string, descendants: readonly string[]): Promise<[RecipePart, ...RecipePart[]]> {
  const chain = [...descendants, file];
  if (descendants.includes(file)) {
    throw new UserError('bad-input', `These recipes extend one another in a circle: ${chain.map(nameOf).join(' -> ')}`, {
      hint: 'Take the extends line out of one of them',
    });
  }
  const document = await readRecipeFile(file);
  if (!document) {
    throw await notFound(file, descendants.at(-1));
  }
  const { files, extends: parent, ...rest } = document;
  const part = { ...rest, files: await Promise.all((files ?? []).map((entry) => place(entry, file))) };
  return parent === undefined ? [part] : [...(await loadChain(parentFile(parent, file), chain)), part];
}

function parentFile(parent: string, file: string): string {
  return /^[./]/.test(parent) ? resolve(dirname(file), parent) : join(shipped, `${parseImageName(parent)}.yaml`);
}

/** As people know it: the name of a shipped one, else the path. */
function nameOf(file: string): string {
  return dirname(file) === shipped ? basename(file, '.yaml') : file;
}

async function notFound(file: string, descendant: string | undefined): Promise<UserError> {
  const names = await shippedRecipes();
  const name = nameOf(file);
  const meant = nearest(basename(file, '.yaml'), names);
  const by = descendant === undefined ? '' : `, which ${nameOf(descendant)} extends`;
  return new UserError('not-found', `There is no recipe "${name}"${by}`, {
    hint: `${meant === undefined ? '' : `Did you mean ${meant}? `}Those that come along: ${names.join(', ')}; one of your own is given by its path`,
  });
}

async function place(entry: RecipeFile, recipe: string): Promise<PlacedFile> {
  const owner = entry.owner ?? 'root';
  const facts = { path: entry.path, owner: owner.includes(':') ? owner : `${owner}:${owner}` };
  if (entry.source === undefined) {
    const content = entry.content ?? '';
    const sha256 = createHash('sha256').update(content).digest('hex');
    return { ...facts, mode: entry.mode ?? '0644', sha256, from: { content } };
  }
  const source = await findSource(entry.source, recipe);
  const isProgram = ((await stat(source)).mode & 0o100) !== 0;
  return { ...facts, mode: entry.mode ?? (isProgram ? '0755' : '0644'), sha256: await sha256File(source), from: { source } };
}

/** Links are followed first: a recipe from elsewhere must not pick up files of this machine. */
async function findSource(source: string, recipe: string): Promise<string> {
  const wrong = (reason: string, hint: string): UserError =>
    new UserError('bad-input', `The recipe ${recipe} is wrong:\n  files: the source "${source}" ${reason}`, { hint });
  const folder = await realpath(dirname(recipe));
  const file = await realpath(resolve(folder, source)).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') {
      throw wrong('does not exist', `It is looked for in ${folder}, the folder of the recipe`);
    }
    throw error;
  });
  if (!file.startsWith(folder.endsWith(sep) ? folder : `${folder}${sep}`)) {
    throw wrong('is outside the folder of the recipe', `Put it into ${folder} and name it from there`);
  }
  if (!(await stat(file)).isFile()) {
    throw wrong('is not a file', 'Name each file on its own');
  }
  return file;
}
