/** For programs that work with sets of nodes: genders(3), groups.d of ClusterShell, slurm.conf(5). */
import { stringify } from 'yaml';
import { foldRange } from '../../domain/fold-range.ts';
import { lines } from './hosts.ts';
import { byGroup, byLabel, coresOf, type ExportFacts, type ExportRecord, labelNames } from './record.ts';

/** Attributes are the groups of a node, then its labels and facts; an attribute may stand once. */
export function renderGenders({ nodes }: ExportFacts): string {
  return lines(
    nodes.map((node) => {
      const values: [string, string | undefined][] = [
        ...Object.entries(node.labels),
        ['arch', node.arch],
        ['image', node.image],
        ['model', node.model],
        ['serial', node.serial],
      ];
      const attributes = new Map<string, string>();
      for (const group of ['all', ...node.groups]) {
        attributes.set(group, group);
      }
      for (const [key, value] of values) {
        if (value !== undefined && !attributes.has(key)) {
          attributes.set(key, value === '' ? key : `${key}=${gendersValue(value)}`);
        }
      }
      return `${node.name} ${[...attributes.values()].join(',')}`;
    }),
  );
}

/** White space, commas and equal signs end a value; %n stands for the node, %% for itself. */
function gendersValue(value: string): string {
  return value.replaceAll(/[\s,=#]/g, '_').replaceAll('%', '%%');
}

/** The source `cardless` has the groups, and each label is a source of its own: @workers and @rack:a. */
export function renderClusterShell({ nodes }: ExportFacts): string {
  const setsOf = (groups: ReadonlyMap<string, readonly ExportRecord[]>): Record<string, string> =>
    Object.fromEntries([...groups].map(([group, members]) => [group, fold(members)]));
  const labels = labelNames(nodes).filter((label) => /^[A-Za-z0-9_-]+$/.test(label) && label !== 'cardless');
  const document = {
    cardless: { all: fold(nodes), ...setsOf(byGroup(nodes)) },
    ...Object.fromEntries(
      labels.map((label) => [
        label,
        { all: fold([...byLabel(nodes, label).values()].flat()), ...setsOf(plainKeys(byLabel(nodes, label))) },
      ]),
    ),
  };
  return lines([stringify(document, { lineWidth: 0, defaultStringType: 'QUOTE_SINGLE', defaultKeyType: 'QUOTE_SINGLE' }).trimEnd()]);
}

/** What else is in the name of a group is an operator to nodeset. */
function plainKeys<T>(groups: ReadonlyMap<string, T>): Map<string, T> {
  return new Map([...groups].filter(([key]) => /^[A-Za-z0-9_.-]+$/.test(key) && key !== 'all'));
}

/** A line for all nodes of the same hardware, and a partition for each group. */
export function renderSlurm({ nodes }: ExportFacts): string {
  const alike = new Map<string, ExportRecord[]>();
  for (const node of nodes) {
    const cores = coresOf(node);
    const facts = [
      ...(cores === undefined ? [] : [`CPUs=${cores}`]),
      ...(node.hardware === undefined ? [] : [`RealMemory=${node.hardware.memoryMiB}`]),
    ].join(' ');
    alike.set(facts, [...(alike.get(facts) ?? []), node]);
  }
  return lines([
    ...[...alike].map(([facts, members]) => [`NodeName=${fold(members)}`, ...(facts === '' ? [] : [facts]), 'State=UNKNOWN'].join(' ')),
    ...(nodes.length === 0 ? [] : [`PartitionName=all Nodes=${fold(nodes)} Default=YES MaxTime=INFINITE State=UP`]),
    ...[...byGroup(nodes)].map(([group, members]) => `PartitionName=${group} Nodes=${fold(members)} MaxTime=INFINITE State=UP`),
  ]);
}

function fold(nodes: readonly ExportRecord[]): string {
  return foldRange(nodes.map(({ name }) => name));
}
