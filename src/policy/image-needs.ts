/** Who needs which version of an image, and which versions nobody needs. */
import { type Architecture, type Image, type ImageDigest, shortDigest } from '../domain/image.ts';
import { type ImageRef, type ImageTag, resolveRef, type TagLookup, versionOf } from '../domain/image-ref.ts';
import type { NodeName } from '../domain/node.ts';
import { isPiSerial, type Serial } from '../domain/serial.ts';

const piArchitectures: readonly Architecture[] = ['arm64', 'armhf'];

export interface NeedFacts {
  /** Newest first. */
  readonly images: readonly Image[];
  /** Those whose manifest cannot be read. */
  readonly broken?: readonly ImageDigest[];
  readonly tags: TagLookup & { readonly of: (digest: ImageDigest) => readonly ImageTag[] };
  readonly nodes: readonly NodeFacts[];
  readonly overlays: readonly { readonly node: string; readonly digest: string }[];
}

export interface NodeFacts {
  readonly name: NodeName;
  readonly image: ImageRef;
  readonly serial?: Serial;
  /** Its last boot, as long as the node may be running on it. */
  readonly boot?: { readonly arch: Architecture; readonly digest: ImageDigest };
}

export interface Need {
  readonly kind: 'node' | 'boot' | 'overlay' | 'tag';
  readonly what: string;
}

export type Needs = ReadonlyMap<ImageDigest, readonly Need[]>;

/** Only what somebody needs is in it. */
export function imageNeeds(facts: NeedFacts): Needs {
  const needs = new Map<ImageDigest, Need[]>();
  const add = (digest: ImageDigest, need: Need): void => void needs.set(digest, [...(needs.get(digest) ?? []), need]);
  const broken = facts.broken ?? [];
  const all = [...facts.images.map(({ digest }) => digest), ...broken];
  for (const digest of all) {
    for (const tag of facts.tags.of(digest)) {
      add(digest, { kind: 'tag', what: `it has the tag ${tag}` });
    }
  }
  for (const node of facts.nodes) {
    for (const digest of nextBoots(node, facts)) {
      add(digest, { kind: 'node', what: `${node.name} boots it next` });
    }
    const version = versionOf(node.image);
    for (const digest of broken.filter((entry) => version.kind === 'digest' && entry.startsWith(version.prefix))) {
      add(digest, { kind: 'node', what: `${node.name} boots it next` });
    }
    if (node.boot) {
      add(node.boot.digest, { kind: 'boot', what: `${node.name} runs on it, as far as is known` });
    }
  }
  for (const digest of all) {
    for (const overlay of facts.overlays.filter((entry) => entry.digest === digest)) {
      add(digest, { kind: 'overlay', what: `${overlay.node} has an overlay of it` });
    }
  }
  return needs;
}

/** What a node would boot now: one version, or several where nobody knows yet what kind of machine it is. */
export function nextBoots(node: NodeFacts, { images, tags }: Pick<NeedFacts, 'images' | 'tags'>): ImageDigest[] {
  const digests = possibleMachines(node).flatMap((archs) => {
    const found = archs.map((arch) => resolveRef(node.image, arch, images, tags)).find(({ kind }) => kind === 'found');
    return found?.kind === 'found' ? [found.image.digest] : [];
  });
  return [...new Set(digests)];
}

/** For each kind of machine that it may be: what that kind boots, the best first (architecturesOf). */
function possibleMachines({ boot, serial }: NodeFacts): readonly (readonly Architecture[])[] {
  const isPi = serial !== undefined && isPiSerial(serial);
  if (isPi) {
    // A Pi 5 takes no 32-bit version; where there is no other, one too many is kept.
    return [piArchitectures];
  }
  return boot ? [[boot.arch]] : [piArchitectures, ['amd64']];
}

export interface GarbageFacts {
  readonly images: readonly Image[];
  readonly needs: Needs;
  /** So many of the newest versions of each name and architecture stay in any case. */
  readonly keep: number;
  /** Names that a job works on. */
  readonly busy: (image: Image) => boolean;
}

export interface Garbage {
  readonly remove: readonly Image[];
  readonly kept: readonly { readonly image: Image; readonly why: readonly string[] }[];
}

export function findGarbage({ images, needs, keep, busy }: GarbageFacts): Garbage {
  const seen = new Map<string, number>();
  const remove: Image[] = [];
  const kept: { image: Image; why: readonly string[] }[] = [];
  for (const image of images) {
    const key = `${image.name} ${image.arch}`;
    const rank = (seen.get(key) ?? 0) + 1;
    seen.set(key, rank);
    const why = [
      ...(rank <= keep ? [rank === 1 ? 'it is the newest' : `it is one of the newest ${keep}`] : []),
      ...(busy(image) ? ['a job works on this image'] : []),
      ...(needs.get(image.digest) ?? []).map(({ what }) => what),
    ];
    if (why.length === 0) {
      remove.push(image);
    } else {
      kept.push({ image, why });
    }
  }
  return { remove, kept };
}

/** `debian-13:0123456789ab (arm64)` */
export function imageText(image: Image): string {
  return `${image.name}:${shortDigest(image.digest)} (${image.arch})`;
}
