/** A recipe with all that it extends: complete, checked, its source files found. */
import { createHash } from 'node:crypto';
import { UserError } from '../../domain/errors.ts';
import type { Architecture, ImageName } from '../../domain/image.ts';
import type { RecipeDocument, RecipeUser } from './schema.ts';

export interface Recipe {
  readonly name: ImageName;
  readonly suite: string;
  readonly architectures: readonly Architecture[];
  readonly packages: readonly string[];
  readonly kernel?: Exclude<RecipeDocument['kernel'], undefined>;
  readonly firmware?: 'raspi-firmware' | 'none';
  readonly kernelArguments: readonly string[];
  readonly dataVolume: boolean;
  readonly users: readonly RecipeUser[];
  readonly files: readonly PlacedFile[];
  readonly locale?: string;
  readonly timeZone?: string;
  readonly commands: readonly string[];
  readonly services: Services;
}

export interface Services {
  readonly enabled: readonly string[];
  readonly disabled: readonly string[];
  readonly masked: readonly string[];
}

export interface PlacedFile {
  readonly path: string;
  readonly mode: string;
  /** user:group */
  readonly owner: string;
  readonly sha256: string;
  /** The text itself, or the file that has it. */
  readonly from: { readonly content: string } | { readonly source: string };
}

/** One file's part; its source files are found already. */
export type RecipePart = Omit<RecipeDocument, 'files' | 'extends'> & { readonly files: readonly PlacedFile[] };

/**
 * One recipe of a chain, its farthest ancestor first: lists are joined, everything else is the last one's that says it.
 * A user of the same name is the later one's. @throws UserError bad-input when the whole says too little
 */
export function joinParts(parts: readonly [RecipePart, ...RecipePart[]], file: string): Recipe {
  const all = <Item>(pick: (part: RecipePart) => readonly Item[] | undefined): Item[] => parts.flatMap((part) => pick(part) ?? []);
  const last = <Value>(pick: (part: RecipePart) => Value | undefined): Value | undefined =>
    parts.map(pick).findLast((value) => value !== undefined);
  const { suite, architectures, ...optional } = {
    suite: last((part) => part.suite),
    architectures: last((part) => part.architectures),
    kernel: last((part) => part.kernel),
    firmware: last((part) => part.firmware),
    locale: last((part) => part.locale),
    timeZone: last((part) => part.timeZone),
  };
  if (suite === undefined || architectures === undefined) {
    const missing = suite === undefined ? 'suite' : 'architectures';
    throw new UserError('bad-input', `The recipe ${file} is wrong:\n  ${missing}: is missing`, {
      hint: 'Say it there, or extend a recipe that does, for example: extends: debian-minimal',
    });
  }
  const { name } = parts[parts.length - 1] ?? parts[0];
  return {
    name,
    suite,
    architectures,
    packages: unique(all((part) => part.packages)),
    ...definedOf(optional),
    kernelArguments: unique(all((part) => part.kernelArguments)),
    dataVolume: last((part) => part.dataVolume) ?? false,
    users: [...new Map(all((part) => part.users).map((user) => [user.name, user])).values()],
    files: all((part) => part.files),
    commands: all((part) => part.commands),
    services: {
      enabled: unique(all((part) => part.services?.enabled)),
      disabled: unique(all((part) => part.services?.disabled)),
      masked: unique(all((part) => part.services?.masked)),
    },
  };
}

/** Changes whenever the tree that a recipe makes may change. What is not said has no part in it. */
export function recipeKey(recipe: Recipe, arch: Architecture, builderVersion: number): string {
  const { name, suite, architectures, packages } = recipe;
  const tree = { name, suite, architectures, packages, ...saidBeyondPackages(recipe) };
  return createHash('sha256')
    .update(JSON.stringify({ recipe: tree, arch, builderVersion }))
    .digest('hex')
    .slice(0, 16);
}

/** What makes the tree another one than its packages alone would; empty when nothing does. */
export function beyondPackages(recipe: Recipe): string {
  const said = saidBeyondPackages(recipe);
  return Object.keys(said).length === 0 ? '' : JSON.stringify(said);
}

function saidBeyondPackages(recipe: Recipe): object {
  const { kernel, firmware, users, files, locale, timeZone, commands, services } = recipe;
  return {
    ...definedOf({ kernel, firmware, locale, timeZone }),
    ...(users.length > 0 ? { users } : {}),
    ...(files.length > 0 ? { files: files.map(({ path, mode, owner, sha256 }) => ({ path, mode, owner, sha256 })) } : {}),
    ...(commands.length > 0 ? { commands } : {}),
    ...(Object.values(services).some((units) => units.length > 0) ? { services } : {}),
  };
}

/** Debian's kernel package for this architecture, or `none`. */
export function kernelPackage(recipe: Recipe, arch: Architecture): string {
  const chosen = typeof recipe.kernel === 'string' ? recipe.kernel : recipe.kernel?.[arch];
  return chosen ?? `linux-image-${arch === 'armhf' ? 'armmp' : arch}`;
}

/** Those of the recipe, and those that its other keys cannot do without. */
export function wantedPackages(recipe: Recipe): readonly string[] {
  const implied = [
    ...(recipe.locale === undefined || recipe.locale === 'C.UTF-8' ? [] : ['locales']),
    ...(recipe.timeZone === undefined ? [] : ['tzdata']),
    ...(recipe.users.some((user) => user.sudo) ? ['sudo'] : []),
  ];
  return unique([...recipe.packages, ...implied]);
}

type Defined<Values> = { [Key in keyof Values]?: Exclude<Values[Key], undefined> };

function definedOf<Values extends object>(values: Values): Defined<Values> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Defined<Values>;
}

function unique<Item>(items: readonly Item[]): Item[] {
  return [...new Set(items)];
}
