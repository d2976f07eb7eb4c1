import { UserError } from './errors.ts';

declare const brand: unique symbol;
export type ImageName = string & { readonly [brand]: 'ImageName' };
/** SHA-256 of an image's content, 64 hex digits: the version of the image, which never changes. */
export type ImageDigest = string & { readonly [brand]: 'ImageDigest' };

export const architectures = ['arm64', 'armhf', 'amd64'] as const;
/** Debian's names. */
export type Architecture = (typeof architectures)[number];

export interface ImageFile {
  /** Relative to the image's directory, slashes, no leading slash. */
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

/** A kernel and what it starts with, both by their names among the boot files. */
export interface ImageKernel {
  readonly file: string;
  /** As in `uname -r`. */
  readonly version: string;
  readonly initramfs: string;
}

/** Where a version comes from. No part of its content: the same content made in another way is the same version. */
export interface ImageLineage {
  /** The version that a node ran and changed. */
  readonly parent?: ImageDigest;
  /** What its maker said about it. */
  readonly message?: string;
}

/** One immutable version. `files` are in order of path; the digest covers everything but `createdAt` and the lineage. */
export interface Image extends ImageLineage {
  readonly name: ImageName;
  readonly digest: ImageDigest;
  readonly arch: Architecture;
  readonly kernelVersion: string;
  readonly rootFormat: 'erofs' | 'squashfs';
  /** What its kernel is given besides the server's own arguments. */
  readonly kernelArguments?: readonly string[];
  /** Its nodes get a data volume unless they are told otherwise. */
  readonly dataVolume?: boolean;
  readonly files: readonly ImageFile[];
  /** Absent: one kernel under the name that all boards of the architecture boot. The first is for those. */
  readonly kernels?: readonly ImageKernel[];
  /** Lines about hardware for config.txt, under filters of models. */
  readonly configTxt?: readonly string[];
  /** ISO 8601. */
  readonly createdAt: string;
}

/** @throws UserError bad-input */
export function parseImageName(input: string): ImageName {
  if (!/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/.test(input)) {
    throw new UserError('bad-input', `"${input}" is not an image name`, {
      hint: 'Lower-case letters, digits, dots and dashes, for example debian-13',
    });
  }
  return input as ImageName;
}

/** @throws UserError bad-input */
export function parseImageDigest(input: string): ImageDigest {
  if (!/^[0-9a-f]{64}$/.test(input)) {
    throw new UserError('bad-input', `"${input}" is not an image digest`, { hint: 'cardless image list --json shows them' });
  }
  return input as ImageDigest;
}

/** @throws UserError bad-input */
export function parseArchitecture(input: string): Architecture {
  const arch = architectures.find((name) => name === input);
  if (!arch) {
    throw new UserError('bad-input', `"${input}" is not an architecture`, { hint: `One of: ${architectures.join(', ')}` });
  }
  return arch;
}

/** Enough of a digest for people to tell versions apart. */
export function shortDigest(digest: ImageDigest): string {
  return digest.slice(0, 12);
}
