/** How people name a version of an image: `debian-13`, `debian-13:stable`, `debian-13:ab12cd34`. */
import { UserError } from './errors.ts';
import { type Architecture, architectures, type Image, type ImageDigest, type ImageName, parseImageName, shortDigest } from './image.ts';

declare const brand: unique symbol;
/** A name, alone or with a tag or the first digits of a digest. What it stands for may change with time. */
export type ImageRef = ImageName | (string & { readonly [brand]: 'ImageRef' });
/** A name that people give to a version: one version per image name and architecture has it. */
export type ImageTag = string & { readonly [brandTag]: 'ImageTag' };
declare const brandTag: unique symbol;

/** Always the newest version; never set by hand. */
export const latestTag = 'latest';
const minDigestDigits = 6;
const maxShownCandidates = 8;
const digestPrefix = new RegExp(`^[0-9a-f]{${minDigestDigits},64}$`);
const tagPattern = /^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$/;

export type RefVersion =
  | { readonly kind: 'latest' }
  | { readonly kind: 'tag'; readonly tag: ImageTag }
  | { readonly kind: 'digest'; readonly prefix: string };

/** @throws UserError bad-input */
export function parseImageRef(input: string): ImageRef {
  const [name = '', version, ...rest] = input.split(':');
  if (rest.length > 0 || version === '') {
    throw new UserError('bad-input', `"${input}" is not an image reference`, {
      hint: 'A name, alone or with a tag or a digest: debian-13, debian-13:stable, debian-13:ab12cd34',
    });
  }
  parseImageName(name);
  if (version !== undefined && !digestPrefix.test(version)) {
    checkTag(version);
  }
  return input as ImageRef;
}

/** @throws UserError bad-input for what no version may be called */
export function parseImageTag(input: string): ImageTag {
  checkTag(input);
  if (input === latestTag) {
    throw new UserError('bad-input', `"${latestTag}" is always the newest version and cannot be set`, {
      hint: 'Choose another tag, for example stable',
    });
  }
  if (digestPrefix.test(input)) {
    throw new UserError('bad-input', `The tag "${input}" could be the beginning of a digest`, {
      hint: `Use a letter after f, a dash or a dot: v${input}`,
    });
  }
  return input as ImageTag;
}

function checkTag(text: string): void {
  if (!tagPattern.test(text)) {
    throw new UserError('bad-input', `"${text}" is neither a tag nor a digest`, {
      hint: `A tag has lower-case letters, digits, dots, dashes; of a digest at least ${minDigestDigits} digits are needed`,
    });
  }
}

export function imageNameOf(ref: ImageRef): ImageName {
  return parseImageName(ref.split(':')[0] ?? '');
}

export function versionOf(ref: ImageRef): RefVersion {
  const [, version = latestTag] = ref.split(':');
  if (version === latestTag) {
    return { kind: 'latest' };
  }
  return digestPrefix.test(version) ? { kind: 'digest', prefix: version } : { kind: 'tag', tag: version as ImageTag };
}

export interface TagLookup {
  readonly digestOf: (name: ImageName, arch: Architecture, tag: ImageTag) => ImageDigest | undefined;
}

export type Resolution =
  | { readonly kind: 'found'; readonly image: Image }
  | { readonly kind: 'ambiguous'; readonly reason: string; readonly candidates: readonly Image[] }
  | { readonly kind: 'none'; readonly reason: string };

/**
 * What a reference stands for on an architecture at this moment.
 * @param images newest first
 */
export function resolveRef(ref: ImageRef, arch: Architecture, images: readonly Image[], tags: TagLookup): Resolution {
  const name = imageNameOf(ref);
  const own = images.filter((image) => image.name === name && image.arch === arch);
  const version = versionOf(ref);
  const [newest] = own;
  if (!newest) {
    return { kind: 'none', reason: `there is no image ${name} for ${arch}` };
  }
  switch (version.kind) {
    case 'latest':
      return { kind: 'found', image: newest };
    case 'tag': {
      const digest = tags.digestOf(name, arch, version.tag);
      const image = own.find((candidate) => candidate.digest === digest);
      const why =
        digest === undefined ? `no version of ${name} for ${arch} has the tag` : `the version of ${name} is gone that had the tag`;
      return image ? { kind: 'found', image } : { kind: 'none', reason: `${why} "${version.tag}"` };
    }
    case 'digest': {
      const found = own.filter((image) => image.digest.startsWith(version.prefix));
      const [image] = found;
      if (found.length > 1) {
        return { kind: 'ambiguous', reason: `${found.length} versions of ${name} begin with ${version.prefix}`, candidates: found };
      }
      return image ? { kind: 'found', image } : { kind: 'none', reason: `no version of ${name} for ${arch} begins with ${version.prefix}` };
    }
    default:
      version satisfies never;
      throw new TypeError('unreachable');
  }
}

/**
 * The versions that a reference stands for: one per architecture, or of the named one alone.
 * @throws UserError not-found, bad-input when it is ambiguous
 */
export function requireImages(
  ref: ImageRef,
  images: readonly Image[],
  tags: TagLookup,
  wanted: readonly Architecture[] = architectures,
): [Image, ...Image[]] {
  const results = wanted.map((arch) => resolveRef(ref, arch, images, tags));
  const candidates = results.flatMap((result) => (result.kind === 'ambiguous' ? result.candidates : []));
  const found = results.flatMap((result) => (result.kind === 'found' ? [result.image] : []));
  const sameDigits = versionOf(ref).kind === 'digest' && found.length + candidates.length > 1;
  if (candidates.length > 0 || sameDigits) {
    throw ambiguous(ref, [...candidates, ...found]);
  }
  const [first, ...rest] = found;
  if (!first) {
    throw new UserError('not-found', noImageText(ref, images, wanted), { hint: knownVersions(ref, images) });
  }
  return [first, ...rest];
}

function ambiguous(ref: ImageRef, candidates: readonly Image[]): UserError {
  const shown = candidates.slice(0, maxShownCandidates).map((image) => `${image.name}:${image.digest} (${image.arch})`);
  return new UserError('bad-input', `"${ref}" is the beginning of ${candidates.length} versions`, {
    hint: `Give more digits. It could be:\n    ${shown.join('\n    ')}`,
  });
}

function noImageText(ref: ImageRef, images: readonly Image[], wanted: readonly Architecture[]): string {
  const name = imageNameOf(ref);
  const version = versionOf(ref);
  const suffix = wanted.length === architectures.length ? '' : ` for ${wanted.join(' or ')}`;
  if (!images.some((image) => image.name === name && wanted.includes(image.arch))) {
    return `There is no image "${name}"${suffix}`;
  }
  return version.kind === 'tag'
    ? `No version of ${name}${suffix} has the tag "${version.tag}"`
    : `No version of ${name}${suffix} begins with ${ref.split(':')[1] ?? ''}`;
}

function knownVersions(ref: ImageRef, images: readonly Image[]): string {
  const versions = images.filter((image) => image.name === imageNameOf(ref));
  if (versions.length > 0) {
    const shown = versions.slice(0, maxShownCandidates).map((image) => `${image.name}:${shortDigest(image.digest)} (${image.arch})`);
    return `There is ${shown.join(', ')}`;
  }
  const names = [...new Set(images.map((image) => image.name))].slice(0, maxShownCandidates);
  return names.length === 0 ? 'cardless image build makes one' : `There is ${names.join(', ')}; cardless image build makes more`;
}
