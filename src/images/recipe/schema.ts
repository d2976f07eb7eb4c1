/** What may stand in a recipe's file. Every key is explained, with an example, in README.md, "Images: recipes". */
import { z } from 'zod';
import { parsed } from '../../config/parsed.ts';
import { AbsolutePath, FileMode, FileOwner, Locale, PasswordHash, TimeZone, UserName } from '../../config/system-values.ts';
import { architectures, parseImageName } from '../../domain/image.ts';
import { isKernelArgument } from '../../domain/kernel-arguments.ts';
import { parsePublicKey } from '../../domain/public-key.ts';

const PackageName = z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/, 'is not the name of a Debian package');

const UnitName = z.string().regex(/^[A-Za-z0-9@:_.\\-]+$/, 'is not the name of a systemd unit');

const RecipeFile = z
  .strictObject({
    path: AbsolutePath,
    /** One of these two. */
    content: z.string().optional(),
    source: z.string().min(1).optional(),
    mode: FileMode.optional(),
    owner: FileOwner.optional(),
  })
  .refine((file) => (file.content === undefined) !== (file.source === undefined), 'needs either content or source');
export type RecipeFile = z.infer<typeof RecipeFile>;

const RecipeUser = z.strictObject({
  name: UserName,
  uid: z.int().min(1000).max(59_999).optional(),
  groups: z.array(UserName).optional(),
  shell: AbsolutePath.optional(),
  /** Everything, without a password. */
  sudo: z.boolean().optional(),
  authorizedKeys: z.array(parsed(parsePublicKey)).optional(),
  passwordHash: PasswordHash.optional(),
});
export type RecipeUser = z.infer<typeof RecipeUser>;

/** Or `none`, which has the form of one. */
const KernelPackage = PackageName;

export const RecipeDocument = z.strictObject({
  name: parsed(parseImageName),
  description: z.string().optional(),
  /** A name of rootfs/recipes, or a path that begins with a dot or a slash. */
  extends: z.string().min(1).optional(),
  suite: z
    .string()
    .regex(/^[a-z]+$/, 'is not the name of a Debian release, for example trixie')
    .optional(),
  architectures: z.array(z.enum(architectures)).min(1, 'needs at least one').optional(),
  packages: z.array(PackageName).optional(),
  kernel: z
    .union([KernelPackage, z.partialRecord(z.enum(architectures), KernelPackage)], 'is no package, and no packages by architecture')
    .optional(),
  firmware: z.enum(['raspi-firmware', 'none']).optional(),
  kernelArguments: z.array(z.string().refine(isKernelArgument, 'is no kernel argument, or one that the server sets itself')).optional(),
  dataVolume: z.boolean().optional(),
  users: z.array(RecipeUser).optional(),
  files: z.array(RecipeFile).optional(),
  locale: Locale.optional(),
  timeZone: TimeZone.optional(),
  commands: z.array(z.string().min(1)).optional(),
  services: z
    .strictObject({
      enabled: z.array(UnitName).optional(),
      disabled: z.array(UnitName).optional(),
      masked: z.array(UnitName).optional(),
    })
    .optional(),
});
export type RecipeDocument = z.infer<typeof RecipeDocument>;

/** The keys that are known at a place in a recipe. */
export function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  const shapes: Readonly<Record<string, object>> = {
    files: RecipeFile.shape,
    users: RecipeUser.shape,
    services: RecipeDocument.shape.services.unwrap().shape,
    kernel: Object.fromEntries(architectures.map((arch) => [arch, arch])),
  };
  const [first] = path;
  return Object.keys(first === undefined ? RecipeDocument.shape : (shapes[String(first)] ?? {}));
}
