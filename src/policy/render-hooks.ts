/** The operator's scripts, and what they and people on the node are told about it. */
import type { NodeSettings } from '../domain/node-settings.ts';
import type { TemplateContext } from './render-template.ts';
import type { SeedFile } from './seed-file.ts';

export function hookFiles({ firstBoot = [], everyBoot = [] }: NodeSettings, context: TemplateContext): SeedFile[] {
  return [
    { path: 'etc/cardless/node.env', mode: 0o600, text: environment(context) },
    { path: 'etc/cardless/node.json', mode: 0o600, text: `${JSON.stringify(record(context), undefined, 2)}\n` },
    ...Object.entries({ firstBoot, everyBoot }).flatMap(([kind, hooks]) =>
      hooks.map(({ name, script }, index): SeedFile => {
        const place = String(index + 1).padStart(3, '0');
        return { path: `usr/lib/cardless/hooks/${kind}/${place}-${name}`, mode: 0o700, text: script };
      }),
    ),
  ];
}

function record({ node, variables, cluster }: TemplateContext): object {
  return { ...node, domain: cluster.domain, variables };
}

/** As a shell reads it: lists with spaces between, labels and variables as JSON. */
function environment({ node, variables, cluster }: TemplateContext): string {
  const { labels, macs, groups, ...words } = node;
  const values = {
    ...words,
    macs: macs.join(' '),
    groups: groups.join(' '),
    domain: cluster.domain,
    labels: JSON.stringify(labels),
    variables: JSON.stringify(variables),
  };
  return Object.entries(values)
    .map(([key, value]) => `CARDLESS_${key === 'name' ? 'NODE' : key.toUpperCase()}='${value.replaceAll("'", `'\\''`)}'\n`)
    .join('');
}
