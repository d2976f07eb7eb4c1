/** The fleet file, cluster.yaml: what holds for all nodes, for groups, and for single nodes or ranges of them. */
import { z } from 'zod';
import { parseGroupName } from '../domain/group.ts';
import { parseImageRef } from '../domain/image-ref.ts';
import { parseIpv4 } from '../domain/ipv4.ts';
import { isKernelArgument } from '../domain/kernel-arguments.ts';
import { overlayModes } from '../domain/node.ts';
import type { JsonObject, JsonValue, NodeSettings } from '../domain/node-settings.ts';
import { parseDiskSize } from '../domain/overlay.ts';
import { parsePublicKey } from '../domain/public-key.ts';
import { parsed } from './parsed.ts';
import { AbsolutePath, DomainName, FileMode, FileOwner, Locale, PasswordHash, TimeZone, UserName } from './system-values.ts';

const Json: z.ZodType<JsonValue> = z.lazy(() =>
  z.union([z.string(), z.number(), z.boolean(), z.null(), z.array(Json), z.record(z.string(), Json)]),
);
const JsonRecord: z.ZodType<JsonObject> = z.record(z.string(), Json);

const ConfigTxtPart = z.strictObject({
  models: z.array(z.string().regex(/^[a-z0-9+=-]{1,32}$/, 'is not a filter of config.txt, for example pi4')).optional(),
  lines: z.array(
    z.string().regex(/^[\x20-\x5a\x5c-\x7e][\x20-\x7e]{0,97}$/, 'is not a line of config.txt: up to 98 ASCII characters, no filter'),
  ),
});

const UserAccount = z.strictObject({
  name: UserName,
  uid: z.int().min(1000).max(59_999).optional(),
  groups: z.array(UserName).optional(),
  shell: AbsolutePath.optional(),
  sudo: z.boolean().optional(),
  authorizedKeys: z.array(parsed(parsePublicKey)).optional(),
  passwordHash: PasswordHash.optional(),
});

const UserGroup = z.strictObject({ name: UserName, gid: z.int().min(1000).max(59_999).optional() });

const NodeFile = z
  .strictObject({
    path: AbsolutePath,
    content: z.string().max(262_144, 'is too long; put it into the image').optional(),
    template: z.boolean().optional(),
    /** In place of content: the file is not to be there. */
    remove: z.literal(true).optional(),
    mode: FileMode.optional(),
    owner: FileOwner.optional(),
    live: z.boolean().optional(),
  })
  .refine((file) => (file.content === undefined) === (file.remove === true), 'needs one of content, source, and remove: true')
  .transform(({ remove: _remove, ...file }) => file);

const Hook = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, 'is not the name of a hook: lower-case letters, digits, dashes'),
  script: z.string().min(1).max(262_144),
});

const Secret = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, 'is not the name of a secret: lower-case letters, digits, dashes'),
  path: AbsolutePath,
  scope: z.enum(['cluster', 'node']).default('cluster'),
  bytes: z.int().min(8).max(4096).default(32),
  encoding: z.enum(['raw', 'hex', 'base64']).default('hex'),
  mode: FileMode.optional(),
  owner: FileOwner.optional(),
});

const SharedDirectory = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, 'is not the name of a shared directory: lower-case letters, digits, dashes'),
  at: AbsolutePath.optional(),
  writable: z.boolean().optional(),
});

const Command = z.string().min(1).max(4096);
const PowerDriver = z.discriminatedUnion('driver', [
  z.strictObject({ driver: z.literal('agent') }),
  z.strictObject({
    driver: z.literal('webhook'),
    on: Command.optional(),
    off: Command.optional(),
    cycle: Command.optional(),
    status: Command.optional(),
    method: z.enum(['GET', 'POST', 'PUT']).optional(),
    headers: z.record(z.string(), z.string()).optional(),
    body: z.string().optional(),
  }),
  z.strictObject({
    driver: z.literal('snmp'),
    host: z.string().regex(/^[A-Za-z0-9.:-]+$|\{\{/, 'is not a host'),
    port: z.string().regex(/^\d+(\.\d+)*$|\{\{/, 'is not the index of a port, for example "1.7"'),
    community: z.string().optional(),
  }),
  z.strictObject({
    driver: z.literal('command'),
    on: Command.optional(),
    off: Command.optional(),
    cycle: Command.optional(),
    status: Command.optional(),
  }),
]);

const label = /^[A-Za-z0-9_./-]{1,63}$/;
const Labels = z.record(z.string().regex(label, 'is not a label'), z.union([z.string(), z.boolean().transform(String)]));

const DiskSize = z.union([parsed(parseDiskSize), z.literal('none').transform(() => 0)], 'is not a size, for example 8G, and not none');

const settingsShape = {
  image: parsed(parseImageRef).optional(),
  overlay: z.enum(overlayModes).optional(),
  overlaySize: parsed(parseDiskSize).optional(),
  dataVolume: DiskSize.optional(),
  kernelArguments: z.array(z.string().refine(isKernelArgument, 'is no kernel argument, or one that the server sets itself')).optional(),
  configTxt: z.array(ConfigTxtPart).optional(),
  authorizedKeys: z.array(parsed(parsePublicKey)).optional(),
  users: z.array(UserAccount).optional(),
  userGroups: z.array(UserGroup).optional(),
  passwordLogin: z.boolean().optional(),
  timeZone: TimeZone.optional(),
  locale: Locale.optional(),
  keyboard: z
    .string()
    .regex(/^[a-z]{2,12}(,[a-z]{2,12})*$/, 'is not a keyboard layout, for example de')
    .optional(),
  resolver: z.strictObject({ servers: z.array(parsed(parseIpv4)).optional(), search: z.array(DomainName).optional() }).optional(),
  files: z.array(NodeFile).optional(),
  firstBoot: z.array(Hook).optional(),
  everyBoot: z.array(Hook).optional(),
  cloudInit: z
    .strictObject({ userData: JsonRecord.optional(), metaData: JsonRecord.optional(), networkConfig: JsonRecord.optional() })
    .optional(),
  secrets: z.array(Secret).optional(),
  shared: z
    .array(SharedDirectory)
    .refine((all) => new Set(all.map(({ name, at = `/mnt/${name}` }) => at)).size === all.length, 'has two directories at the same place')
    .optional(),
  power: PowerDriver.optional(),
  vitalsSeconds: z.int().min(0).max(3600).optional(),
  variables: JsonRecord.optional(),
  labels: Labels.optional(),
};

/** One for each node of the entry: a list, or a range of the same length. */
const Paired = z.union([z.string(), z.array(z.string())]);

export const SettingsDocument = z.strictObject(settingsShape);
export type SettingsDocument = z.infer<typeof SettingsDocument>;

const GroupDocument = z.strictObject({ parent: parsed(parseGroupName).optional(), ...settingsShape });
export type GroupDocument = z.infer<typeof GroupDocument>;

const NodeDocument = z.strictObject({
  serial: Paired.optional(),
  mac: Paired.optional(),
  ip: Paired.optional(),
  group: parsed(parseGroupName).optional(),
  ...settingsShape,
});
export type NodeDocument = z.infer<typeof NodeDocument>;

export const DnsRecord = z.union([
  z.strictObject({ name: DomainName, type: z.literal('A'), address: parsed(parseIpv4) }),
  z.strictObject({ name: DomainName, type: z.literal('CNAME'), target: DomainName }),
  z.strictObject({ name: DomainName, type: z.literal('TXT'), text: z.array(z.string().max(255)).min(1) }),
  z.strictObject({
    name: DomainName,
    type: z.literal('SRV'),
    target: DomainName,
    port: z.int().min(1).max(65_535),
    priority: z.int().min(0).max(65_535).default(0),
    weight: z.int().min(0).max(65_535).default(0),
  }),
]);
export type DnsRecord = z.infer<typeof DnsRecord>;

/** `workers:` with nothing behind it is an empty group. */
function orEmpty<T extends z.ZodType>(schema: T): z.ZodPreprocess<T> {
  return z.preprocess((value) => value ?? {}, schema);
}

export const FleetDocument = z.strictObject({
  settings: SettingsDocument.optional(),
  groups: orEmpty(z.record(z.string(), orEmpty(GroupDocument))).optional(),
  nodes: orEmpty(z.record(z.string(), orEmpty(NodeDocument))).optional(),
  dns: z.strictObject({ records: z.array(DnsRecord).default([]) }).optional(),
});
export type FleetDocument = z.infer<typeof FleetDocument>;

export function settingsOf({ overlaySize, dataVolume, ...rest }: SettingsDocument): NodeSettings {
  return {
    ...rest,
    ...(overlaySize === undefined ? {} : { overlayBytes: overlaySize }),
    ...(dataVolume === undefined ? {} : { dataBytes: dataVolume }),
  } as NodeSettings;
}

/** As people write it; {@link settingsOf} reads it again. */
export function documentOf({ overlayBytes, dataBytes, files, ...rest }: NodeSettings): Record<string, unknown> {
  return {
    ...rest,
    ...(overlayBytes === undefined ? {} : { overlaySize: sizeText(overlayBytes) }),
    ...(dataBytes === undefined ? {} : { dataVolume: dataBytes === 0 ? 'none' : sizeText(dataBytes) }),
    ...(files === undefined ? {} : { files: files.map((file) => (file.content === undefined ? { ...file, remove: true } : file)) }),
  };
}

function sizeText(bytes: number): string {
  const [unit = '', size = 1] =
    [['T', 2 ** 40] as const, ['G', 2 ** 30] as const, ['M', 2 ** 20] as const].find(([, one]) => bytes % one === 0) ?? [];
  return `${bytes / size}${unit}`;
}

/** The JSON Schema of a fleet file, for editors. */
export function fleetSchema(): object {
  return { title: 'Cardless fleet file', ...z.toJSONSchema(FleetDocument, { io: 'input', unrepresentable: 'any' }) };
}
