/** Files of a fleet that are templates (LiquidJS), rendered with what is known of a node. */
import { Liquid, LiquidError } from 'liquidjs';
import type { Architecture } from '../domain/image.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { Node } from '../domain/node.ts';
import type { JsonObject } from '../domain/node-settings.ts';

/** What a template calls `node`. */
export interface NodeView {
  readonly name: string;
  readonly serial: string;
  readonly model: string;
  readonly address: string;
  readonly macs: readonly string[];
  /** Its own one; empty when it is in none. */
  readonly group: string;
  readonly groups: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly image: string;
  readonly arch: string;
}

export interface TemplateContext {
  readonly node: NodeView;
  readonly nodes: readonly Pick<NodeView, 'name' | 'address' | 'group' | 'labels'>[];
  readonly variables: JsonObject;
  readonly cluster: { readonly domain: string };
}

/** What is not known is empty, so that a template can ask for it. */
export function nodeView(node: Node, address: Ipv4 | undefined, arch: Architecture): NodeView {
  return {
    name: node.name,
    serial: node.serial ?? '',
    model: node.model ?? '',
    address: address ?? '',
    macs: node.macs,
    group: node.group ?? '',
    groups: node.groups,
    labels: node.settings.labels ?? {},
    image: node.image,
    arch,
  };
}

export type Rendered = { readonly text: string } | { readonly line: number; readonly reason: string };

/** Far more than a configuration file needs, and far less than would be felt. */
const limits = { parseLimit: 1_000_000, renderLimit: 5000, memoryLimit: 5_000_000 };

/** The file system is out of reach. Time and chance would make a node look outdated at every look. */
const unwantedTags = ['include', 'render', 'layout', 'block'];
const unwantedFilters = ['date', 'date_to_xmlschema', 'date_to_rfc822', 'date_to_string', 'date_to_long_string', 'sample'];

const engine = createEngine();

function createEngine(): Liquid {
  const made = new Liquid({
    strictVariables: true,
    strictFilters: true,
    // `if`, `unless` and the filter `default` may ask for what is not there.
    lenientIf: true,
    ownPropertyOnly: true,
    templates: {},
    ...limits,
  });
  for (const tag of unwantedTags) {
    delete made.tags[tag];
  }
  for (const filter of unwantedFilters) {
    delete made.filters[filter];
  }
  return made;
}

export function renderTemplate(template: string, context: TemplateContext): Rendered {
  try {
    return { text: String(engine.parseAndRenderSync(template, context)) };
  } catch (error) {
    if (!LiquidError.is(error)) {
      throw error;
    }
    const [line = 1] = (error as LiquidError & { token?: { getPosition?: () => number[] } }).token?.getPosition?.() ?? [];
    return { line, reason: error.message.replace(/(, file:.*)?, line:\d+, col:\d+$/, '') };
  }
}
