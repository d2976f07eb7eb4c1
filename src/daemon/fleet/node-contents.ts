/** What each node would be given now. */
import { createHash } from 'node:crypto';
import type { Architecture, ImageDigest } from '../../domain/image.ts';
import type { Ipv4 } from '../../domain/ipv4.ts';
import type { Node, NodeName } from '../../domain/node.ts';
import type { Secret } from '../../domain/node-settings.ts';
import type { PublicKey } from '../../domain/public-key.ts';
import { powerProblems } from '../../policy/check-power.ts';
import { type ContentPart, contentOf, liveMark } from '../../policy/node-content.ts';
import { cloudInitProblems } from '../../policy/render-cloud-init.ts';
import { pathProblems, type SettingsProblem, settingsFiles, unequalSecrets } from '../../policy/render-files.ts';
import { hookFiles } from '../../policy/render-hooks.ts';
import { accountProblems } from '../../policy/render-people.ts';
import { type SeedFacts, seedFiles } from '../../policy/render-seed.ts';
import { type NodeServices, serviceFiles } from '../../policy/render-service-files.ts';
import { nodeView, type TemplateContext } from '../../policy/render-template.ts';
import type { SeedFile } from '../../policy/seed-file.ts';

export interface NodeContentsOptions {
  /** Of root, on every node. */
  readonly authorizedKeys: readonly PublicKey[];
  readonly domain: string;
  /** Its public key. */
  readonly sshCa: string;
  /** Where a node is or will be found. */
  readonly addressOf: (node: Node) => Ipv4 | undefined;
  /** Of the subnet that a node is in. */
  readonly servicesOf?: (node: Node) => NodeServices;
  /** As it booted last, or as its kind of machine usually is. */
  readonly archOf: (node: Node) => Architecture;
  /** Tells one draw of a secret from another. */
  readonly drawOf: (secret: Secret, node: NodeName) => string | undefined;
  /** The versions that nodes would boot now, several for one whose architecture is not known. */
  readonly nextImages: (nodes: readonly Node[]) => Promise<readonly (readonly ImageDigest[])[]>;
}

/** All of what one node is given. */
export interface NodeContent {
  readonly files: readonly SeedFile[];
  /** What of its settings cannot be given to it. */
  readonly problems: readonly SettingsProblem[];
}

/** What nodes are told about one another. */
interface FleetView {
  readonly hosts: SeedFacts['hosts'];
  readonly nodes: TemplateContext['nodes'];
}

export class NodeContents {
  readonly #options: NodeContentsOptions;

  constructor(options: NodeContentsOptions) {
    this.#options = options;
  }

  /** @param fleet all nodes, which know one another by name */
  of(node: Node, fleet: readonly Node[]): NodeContent {
    return this.#render(node, this.#view(fleet));
  }

  /**
   * Of each node, in the same order: hashes in place of values.
   * @param booted the versions that they run, in place of those that they would boot now
   */
  async partsOf(nodes: readonly Node[], fleet: readonly Node[], booted?: readonly (readonly ImageDigest[])[]): Promise<ContentPart[][]> {
    const view = this.#view(fleet);
    const images = booted ?? (await this.#options.nextImages(nodes));
    return nodes.map((node, index) => {
      const versions = images[index] ?? [];
      return this.#parts(node, view, versions.length === 0 ? `none for ${node.image}` : versions.join(' or '));
    });
  }

  /** Of one node that runs, but for its image, which is settled until it boots. */
  settledParts(node: Node, fleet: readonly Node[]): ContentPart[] {
    return this.#parts(node, this.#view(fleet), '').filter(({ what }) => what !== 'image');
  }

  #parts(node: Node, view: FleetView, image: string): ContentPart[] {
    return contentOf(node, image, this.#render(node, view).files, this.#options.drawOf).map((part) => ({
      ...part,
      value: `${part.live ? liveMark : ''}${hashOf(part.value)}`,
    }));
  }

  /** What would be wrong with nodes, all of it. */
  problemsOf(fleet: readonly Node[]): { node: NodeName; problem: SettingsProblem }[] {
    const view = this.#view(fleet);
    const rendered = fleet.flatMap((node) => this.#render(node, view).problems.map((problem) => ({ node: node.name, problem })));
    return [...rendered, ...unequalSecrets(fleet)];
  }

  /** Whether anybody can log in with a key of their own. The server itself always can, by its authority. */
  hasKey({ settings: { authorizedKeys = [], users = [] } }: Node): boolean {
    return [...this.#options.authorizedKeys, ...authorizedKeys, ...users.flatMap((user) => user.authorizedKeys ?? [])].length > 0;
  }

  #render(node: Node, { hosts, nodes }: FleetView): NodeContent {
    const { authorizedKeys, domain, sshCa, addressOf, archOf, servicesOf } = this.#options;
    const context = {
      node: nodeView(node, addressOf(node), archOf(node)),
      nodes,
      variables: node.settings.variables ?? {},
      cluster: { domain },
    };
    const own = settingsFiles(node, context);
    return {
      files: [
        ...seedFiles({ node, domain, sshCa, authorizedKeys, hosts }),
        ...serviceFiles(servicesOf?.(node) ?? {}),
        ...hookFiles(node.settings, context),
        ...own.files,
      ],
      problems: [
        ...accountProblems(node),
        ...cloudInitProblems(node),
        ...pathProblems(node),
        ...powerProblems(node, addressOf(node), archOf(node)),
        ...own.problems,
      ],
    };
  }

  #view(fleet: readonly Node[]): FleetView {
    const found = fleet.map((node) => ({ node, address: this.#options.addressOf(node) }));
    return {
      hosts: found.flatMap(({ node, address }) => (address === undefined ? [] : [{ name: node.name, address }])),
      nodes: found.map(({ node, address = '' }) => ({
        name: node.name,
        address,
        group: node.group ?? '',
        labels: node.settings.labels ?? {},
      })),
    };
  }
}

/** Told to people by its first digits, and never the value itself, which may be a secret of the node. */
export function hashOf(value: string): string {
  return createHash('sha256').update(value).digest('hex').slice(0, 16);
}
