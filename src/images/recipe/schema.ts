/** What may stand in a recipe's file. Every key is explained, with an example, in README.md, "Images: recipes". */
import { z } from 'zod';
import { parsed } from '../../config/parsed.ts';
import { architectures, parseImageName } from '../../domain/image.ts';
import { isKernelArgument } from '../../domain/kernel-arguments.ts';

const PackageName = z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/, 'is not the name of a Debian package');

const AbsolutePath = z
  .string()
  .regex(/^\/[^\0\n]*[^/\0\n]$/, 'is not an absolute path of a file')
  .refine((path) => !path.split('/').includes('..'), 'must not have .. in it');

const UserName = z.string().regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'is not a name that useradd takes');

const UnitName = z.string().regex(/^[A-Za-z0-9@:_.\\-]+$/, 'is not the name of a systemd unit');

const RecipeFile = z
  .strictObject({
    path: AbsolutePath,
    /** One of these two. */
    content: z.string().optional(),
    source: z.string().min(1).optional(),
    mode: z
      .string('must be in quotes, for example "0644"')
      .regex(/^[0-7]{3,4}$/, 'is not a mode, for example "0644"')
      .optional(),
    owner: z
      .string()
      .regex(/^[a-z0-9_][a-z0-9_.-]*(:[a-z0-9_][a-z0-9_.-]*)?$/, 'is not user or user:group')
      .optional(),
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
  authorizedKeys: z
    .array(z.string().regex(/^(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}( [^\n]*)?$/, 'is not a public SSH key'))
    .optional(),
  passwordHash: z
    .string()
    .regex(/^\$(y|gy|7|6|5|2b)\$[A-Za-z0-9./$=,]{8,}$/, 'is not a hash of crypt(5); openssl passwd -6 makes one')
    .optional(),
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
  locale: z
    .string()
    .regex(/^[a-z]{2,3}_[A-Z]{2}\.UTF-8(@[a-z]+)?$|^C\.UTF-8$/, 'is not a locale, for example en_GB.UTF-8')
    .optional(),
  timeZone: z
    .string()
    .regex(/^[A-Za-z]+([A-Za-z0-9_+-]*\/)*[A-Za-z0-9_+-]*$/, 'is not a time zone, for example Europe/Berlin')
    .optional(),
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
