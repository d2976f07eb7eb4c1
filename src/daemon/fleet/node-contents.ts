/** What each node would be given now. */
import { createHash } from 'node:crypto';
import type { ImageDigest } from '../../domain/image.ts';
import type { Ipv4 } from '../../domain/ipv4.ts';
import type { Node } from '../../domain/node.ts';
import type { PublicKey } from '../../domain/public-key.ts';
import { type ContentPart, contentOf } from '../../policy/node-content.ts';
import { type SeedFacts, type SeedFile, seedFiles } from '../../policy/render-seed.ts';
import { type NodeServices, serviceFiles } from '../../policy/render-service-files.ts';
import { machineId } from '../identity.ts';

export interface NodeContentsOptions {
  /** Of root, on every node. */
  readonly authorizedKeys: readonly PublicKey[];
  /** Where a node is or will be found. */
  readonly addressOf: (node: Node) => Ipv4 | undefined;
  /** Of the subnet that a node is in. */
  readonly servicesOf?: (node: Node) => NodeServices;
  /** The versions that nodes would boot now, several for one whose architecture is not known. */
  readonly nextImages: (nodes: readonly Node[]) => Promise<readonly (readonly ImageDigest[])[]>;
}

export class NodeContents {
  readonly #options: NodeContentsOptions;

  constructor(options: NodeContentsOptions) {
    this.#options = options;
  }

  /** @param fleet all nodes, which know one another by name */
  filesOf(node: Node, fleet: readonly Node[]): SeedFile[] {
    return this.#render(node, this.#hosts(fleet));
  }

  /**
   * Of each node, in the same order: hashes in place of values.
   * @param booted the versions that they run, in place of those that they would boot now
   */
  async partsOf(nodes: readonly Node[], fleet: readonly Node[], booted?: readonly (readonly ImageDigest[])[]): Promise<ContentPart[][]> {
    const all = hashOf(JSON.stringify(this.#hosts(fleet)));
    const images = booted ?? (await this.#options.nextImages(nodes));
    return nodes.map((node, index) => {
      const versions = images[index] ?? [];
      const image = versions.length === 0 ? `none for ${node.image}` : versions.join(' or ');
      // The list of all nodes is in every node's /etc/hosts: it is looked at once, and not once for each.
      const parts = contentOf(node, image, this.#render(node, []));
      return parts.map((part) => ({ ...part, value: hashOf(part.what === '/etc/hosts' ? `${part.value}${all}` : part.value) }));
    });
  }

  #render(node: Node, hosts: SeedFacts['hosts']): SeedFile[] {
    const { authorizedKeys, servicesOf } = this.#options;
    return [...seedFiles({ node, machineId: machineId(node), authorizedKeys, hosts }), ...serviceFiles(servicesOf?.(node) ?? {})];
  }

  #hosts(fleet: readonly Node[]): { name: Node['name']; address: Ipv4 }[] {
    return fleet.flatMap((node) => {
      const address = this.#options.addressOf(node);
      return address === undefined ? [] : [{ name: node.name, address }];
    });
  }
}

/** Told to people by its first digits, and never the value itself, which may be a secret of the node. */
export function hashOf(value: string): string {
  return createHash('sha256').update(value).digest('hex').slice(0, 16);
}
