/** What every export is made of: one record per node. */
import type { Hardware } from '../../domain/hardware.ts';
import type { NodeName } from '../../domain/node.ts';

export interface ExportRecord {
  readonly name: NodeName;
  /** Where the node is or will be found. */
  readonly address?: string;
  readonly serial?: string;
  readonly macs: readonly string[];
  readonly model?: string;
  /** From the group of its own to the widest. */
  readonly groups: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly arch?: string;
  readonly image: string;
  readonly overlay: string;
  readonly state: string;
  /** As the node that runs, or ran last, told it. */
  readonly hardware?: Hardware;
  /** Public, one line. */
  readonly hostKey?: string;
  /** What was said of this node alone, as `node import` takes it. */
  readonly registered: Registered;
}

export interface Registered {
  readonly serial?: string;
  readonly mac?: string;
  readonly ip?: string;
  readonly group?: string;
  readonly image?: string;
  readonly overlay?: string;
  readonly dataVolume?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface ExportFacts {
  /** In order of name. */
  readonly nodes: readonly ExportRecord[];
  /** Nodes are `red5`, and `red5.` with this behind it. */
  readonly domain: string;
  /** The public key that signs the keys of hosts. */
  readonly hostCa?: string;
  /** Through which host nodes are reached, as `user@host`. */
  readonly jump?: string;
  /** Who logs in. */
  readonly user: string;
  /** Where Prometheus finds the exporter of a node. */
  readonly metricsPort: number;
}

/** Every Raspberry Pi that boots from a network alone has four; what a node tells about itself is better. */
const piCores = 4;

export function coresOf({ hardware, model }: ExportRecord): number | undefined {
  return hardware?.cores ?? (/^(Raspberry Pi|Compute Module) /.test(model ?? '') ? piCores : undefined);
}

/** All names under which a node is known. */
export function namesOf({ name }: ExportRecord, domain: string): string[] {
  return [name, `${name}.${domain}`];
}

/** Nodes by group, with those of the groups below it; widest groups are no different from others. */
export function byGroup(nodes: readonly ExportRecord[]): Map<string, ExportRecord[]> {
  return collect(nodes, ({ groups }) => groups);
}

export function byLabel(nodes: readonly ExportRecord[], label: string): Map<string, ExportRecord[]> {
  return collect(nodes, ({ labels }) => (labels[label] === undefined ? [] : [labels[label]]));
}

export function labelNames(nodes: readonly ExportRecord[]): string[] {
  return [...new Set(nodes.flatMap(({ labels }) => Object.keys(labels)))].toSorted();
}

function collect(nodes: readonly ExportRecord[], keysOf: (node: ExportRecord) => readonly string[]): Map<string, ExportRecord[]> {
  const found = new Map<string, ExportRecord[]>();
  for (const node of nodes) {
    for (const key of keysOf(node)) {
      const members = found.get(key) ?? [];
      members.push(node);
      found.set(key, members);
    }
  }
  return new Map([...found].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
