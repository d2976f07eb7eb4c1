/** What the server and the process that makes a commit say to each other. */
import { z } from 'zod';
import { parsed } from '../../config/parsed.ts';
import { architectures, parseImageDigest, parseImageName } from '../../domain/image.ts';
import { aspects, entryTypes } from './change.ts';

/** Of a parent's manifest: what its next version takes over as it is. */
export const ParentManifest = z.object({
  kernelVersion: z.string(),
  /** Absent: one, under the names that all boards of the architecture boot. */
  kernels: z
    .array(z.object({ file: z.string(), version: z.string(), initramfs: z.string() }))
    .min(1)
    .exactOptional(),
  configTxt: z.array(z.string()).exactOptional(),
  kernelArguments: z.array(z.string()).exactOptional(),
  dataVolume: z.boolean().exactOptional(),
});

export const CommitRequest = z.object({
  parent: parsed(parseImageDigest),
  /** Of the parent. */
  imageDirectory: z.string(),
  arch: z.enum(architectures),
  rootFormat: z.enum(['erofs', 'squashfs']),
  /** Of the new version. */
  name: parsed(parseImageName),
  message: z.string().exactOptional(),
  /** A copy of the node's disk, checked. */
  disk: z.string(),
  work: z.string(),
  images: z.string(),
  cache: z.string(),
  choice: z.object({ paths: z.array(z.string()), exclude: z.array(z.string()), keepAptLists: z.boolean() }),
  dryRun: z.boolean(),
  /** Milliseconds since the epoch. */
  now: z.number(),
});
export type CommitRequest = z.infer<typeof CommitRequest>;

const Change = z.object({
  path: z.string(),
  change: z.enum(['added', 'changed', 'removed']),
  type: z.enum(entryTypes),
  before: z.enum(entryTypes).exactOptional(),
  what: z.array(z.enum(aspects)).readonly(),
  bytes: z.number().exactOptional(),
  linkTo: z.string().exactOptional(),
  below: z.number().exactOptional(),
});

export const CommitReport = z.object({
  counts: z.object({ added: z.number(), changed: z.number(), removed: z.number() }),
  changes: z.array(Change).readonly(),
  leftOut: z.array(Change.extend({ reason: z.string() })).readonly(),
  /** Whether the two lists were cut; the counts never are. */
  isCut: z.boolean(),
  notes: z.array(z.string()).readonly(),
  /** Absent after a dry run. */
  digest: parsed(parseImageDigest).exactOptional(),
});
export type CommitReport = z.infer<typeof CommitReport>;

export const CommitLine = z.union([
  z.object({ phase: z.string(), fraction: z.number() }),
  z.object({ report: CommitReport }),
  z.object({ error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }) }),
]);
export type CommitLine = z.infer<typeof CommitLine>;
