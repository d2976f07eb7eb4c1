/** All that a node receives, part by part, so that two states of the registry can be compared. */
import type { Node, NodeName } from '../domain/node.ts';
import type { Secret } from '../domain/node-settings.ts';
import { bootConfiguration } from './render-config.ts';
import { accountParts } from './render-people.ts';
import type { SeedFile } from './seed-file.ts';

export interface ContentPart {
  /** A path, or a word for what is no file. */
  readonly what: string;
  readonly value: string;
  /** A change reaches a node that runs; all others wait for its next boot. */
  readonly live: boolean;
}

/**
 * @param image what the node's reference stands for now, or why nothing
 * @param drawOf tells one draw of a secret from another; what was drawn is no part of this
 */
export function contentOf(
  node: Node,
  image: string,
  files: readonly SeedFile[],
  drawOf: (secret: Secret, node: NodeName) => string | undefined,
): ContentPart[] {
  const { kernelArguments = [], configTxt = [] } = bootConfiguration(node.settings) ?? {};
  const atBoot = (what: string, value: string): ContentPart => ({ what, value, live: false });
  return [
    atBoot('image', image),
    atBoot('overlay', node.overlay),
    ...(node.overlayBytes === undefined ? [] : [atBoot('overlay size', String(node.overlayBytes))]),
    ...(node.dataBytes === undefined ? [] : [atBoot('data volume', String(node.dataBytes))]),
    ...(kernelArguments.length === 0 ? [] : [atBoot('kernel arguments', kernelArguments.join(' '))]),
    ...(configTxt.length === 0 ? [] : [atBoot('config.txt', configTxt.join('\n'))]),
    ...accountParts(node.settings).map((part) => ({ ...part, live: true })),
    ...(node.settings.secrets ?? []).map((secret) => {
      const { name, path, scope, bytes, encoding, mode, owner } = secret;
      return atBoot(`secret ${name}`, JSON.stringify([path, scope, bytes, encoding, mode, owner, drawOf(secret, node.name)]));
    }),
    ...files.map((file) => ({ what: `/${file.path}`, value: textOf(file), live: file.live ?? false })),
  ];
}

function textOf({ mode, owner = 'root', text, link, gone, kept }: SeedFile): string {
  if (gone || kept) {
    return gone ? 'gone' : 'as it is';
  }
  return `${mode.toString(8)} ${owner} ${link === undefined ? `file ${text ?? ''}` : `link ${link}`}`;
}

export interface ContentChange {
  readonly what: string;
  readonly change: 'added' | 'changed' | 'removed';
  /** Whether a node that runs gets it. */
  readonly live: boolean;
}

/** In front of the hash of what reaches nodes that run, so that they can be rid of it as well. */
export const liveMark = 'live ';

/** @param before hashes or values by what they are of; `after` in the same form */
export function compareContent(before: Readonly<Record<string, string>>, after: readonly ContentPart[]): ContentChange[] {
  const now = new Set(after.map(({ what }) => what));
  return [
    ...after.flatMap(({ what, value, live }): ContentChange[] => {
      const old = Object.hasOwn(before, what) ? before[what] : undefined;
      return old === value ? [] : [{ what, change: old === undefined ? 'added' : 'changed', live }];
    }),
    ...Object.entries(before)
      .filter(([what]) => !now.has(what))
      .map(([what, value]): ContentChange => ({ what, change: 'removed', live: value.startsWith(liveMark) })),
  ];
}
