/** Records for programs that read lists. */
import { stringify } from 'yaml';
import { lines } from './hosts.ts';
import { type ExportFacts, labelNames, type Registered } from './record.ts';

/** Salt's roster for salt-ssh. */
export function renderSalt({ nodes, user, jump }: ExportFacts): string {
  const options = (name: string): string[] => [`HostKeyAlias=${name}`, ...(jump === undefined ? [] : [`ProxyJump=${jump}`])];
  const roster = Object.fromEntries(
    nodes.map((node) => [
      node.name,
      {
        host: node.address ?? node.name,
        user,
        ssh_options: options(node.name),
        minion_opts: { grains: { cardless_groups: node.groups, cardless_labels: node.labels } },
      },
    ]),
  );
  return lines(nodes.length === 0 ? ['{}'] : [stringify(roster, { lineWidth: 0 }).trimEnd()]);
}

/** As Prometheus reads it with http_sd_configs and with file_sd_configs. */
export function renderPrometheus({ nodes, metricsPort }: ExportFacts): string {
  const targets = nodes.flatMap(({ name, address, groups, labels, model, arch, image }) => {
    const facts = { node: name, group: groups[0], model, arch, image };
    const known = Object.entries(facts).filter((entry): entry is [string, string] => entry[1] !== undefined);
    // Names are as variables are, and more than one label of ours may become the same: the first stays.
    const own = Object.entries(labels).map(([key, value]) => [`label_${key.replaceAll(/[^A-Za-z0-9_]/g, '_')}`, value] as const);
    return address === undefined
      ? []
      : [{ targets: [`${address}:${metricsPort}`], labels: Object.fromEntries([...known, ...own.toReversed()]) }];
  });
  return `${JSON.stringify(targets, undefined, 2)}\n`;
}

const columns = ['serial', 'mac', 'ip', 'group', 'image', 'overlay', 'dataVolume'] as const satisfies readonly (keyof Registered)[];

/** What was said of each node alone, so that `node import` of it changes nothing. */
export function renderCsv({ nodes }: ExportFacts): string {
  const own = nodes.map(({ registered }) => ({ labels: registered.labels ?? {} }));
  const labels = labelNames(nodes).filter((label) => own.some((node) => node.labels[label] !== undefined));
  const head = ['name', ...columns, ...labels.map((label) => `label:${label}`)];
  const rows = nodes.map(({ name, registered }) => [
    name,
    ...columns.map((column) => registered[column] ?? ''),
    ...labels.map((label) => registered.labels?.[label] ?? ''),
  ]);
  return [head, ...rows].map((row) => `${row.map(csvCell).join(',')}\n`).join('');
}

/** RFC 4180 section 2. A first cell with another separator would make that of the list. */
function csvCell(text: string): string {
  return /[",;\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function renderJson({ nodes }: ExportFacts): string {
  return `${JSON.stringify(nodes, undefined, 2)}\n`;
}
