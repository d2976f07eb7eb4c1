/** Ansible's inventory, as YAML and as its dynamic inventories answer (Ansible, "Developing dynamic inventory"). */
import { stringify } from 'yaml';
import { byGroup, coresOf, type ExportFacts, type ExportRecord } from './record.ts';

type Variables = Readonly<Record<string, unknown>>;

export function renderAnsible(facts: ExportFacts): string {
  const { nodes } = facts;
  const names = groupNames(nodes);
  const nameOf = (group: string): string => names.get(group) ?? group;
  const groups = Object.fromEntries([...names].map(([group, name]) => [name, groupOf(group, nodes, nameOf)]));
  const top = widestGroups(nodes);
  const inventory = {
    all: {
      hosts: Object.fromEntries(nodes.map((node) => [node.name, variablesOf(node, facts)])),
      ...(top.length === 0 ? {} : { children: Object.fromEntries(top.map((group) => [nameOf(group), null])) }),
    },
    ...groups,
  };
  return `# Written by Cardless. Changes are lost.\n${stringify(inventory, { lineWidth: 0 })}`;
}

function groupOf(group: string, nodes: readonly ExportRecord[], nameOf: (group: string) => string): object {
  const hosts = nodes.filter(({ groups }) => groups[0] === group).map(({ name }) => [name, null] as const);
  const children = childrenOf(group, nodes).map((child) => [nameOf(child), null] as const);
  return {
    ...(hosts.length === 0 ? {} : { hosts: Object.fromEntries(hosts) }),
    ...(children.length === 0 ? {} : { children: Object.fromEntries(children) }),
  };
}

/** The answer to `--list`: with all variables, so that Ansible does not ask for each host. */
export function renderAnsibleList(facts: ExportFacts): string {
  const { nodes } = facts;
  const names = groupNames(nodes);
  const groups = [...names].map(([group, name]) => [
    name,
    {
      hosts: nodes.filter(({ groups: own }) => own[0] === group).map((node) => node.name),
      children: childrenOf(group, nodes).map((child) => names.get(child) ?? child),
    },
  ]);
  const hostvars = Object.fromEntries(nodes.map((node) => [node.name, variablesOf(node, facts)]));
  const top = widestGroups(nodes).map((group) => names.get(group) ?? group);
  const ungrouped = nodes.filter(({ groups: own }) => own.length === 0).map(({ name }) => name);
  return `${JSON.stringify({
    _meta: { hostvars },
    all: { children: [...top, 'ungrouped'] },
    ungrouped: { hosts: ungrouped },
    ...Object.fromEntries(groups),
  })}\n`;
}

/** The answer to `--host`. Of a host that is not there Ansible wants nothing. */
export function renderAnsibleHost(facts: ExportFacts): string {
  const [node] = facts.nodes;
  return `${JSON.stringify(node ? variablesOf(node, facts) : {})}\n`;
}

function variablesOf(node: ExportRecord, { user, jump }: ExportFacts): Variables {
  const { address, serial, model, groups, labels, arch, image, state, hardware } = node;
  const cores = coresOf(node);
  return {
    ...(address === undefined ? {} : { ansible_host: address }),
    ansible_user: user,
    // Where known_hosts knows the key, and what the certificate of the host is for.
    ansible_ssh_common_args: [`-o HostKeyAlias=${node.name}`, ...(jump === undefined ? [] : [`-o ProxyJump=${jump}`])].join(' '),
    ...(serial === undefined ? {} : { cardless_serial: serial }),
    ...(model === undefined ? {} : { cardless_model: model }),
    ...(arch === undefined ? {} : { cardless_arch: arch }),
    ...(cores === undefined ? {} : { cardless_cores: cores }),
    ...(hardware === undefined ? {} : { cardless_memory_mib: hardware.memoryMiB }),
    cardless_groups: groups,
    cardless_image: image,
    cardless_labels: labels,
    cardless_state: state,
  };
}

function widestGroups(nodes: readonly ExportRecord[]): string[] {
  return [...new Set(nodes.flatMap(({ groups }) => groups.at(-1) ?? []))].toSorted();
}

/** Groups right below this one. */
function childrenOf(group: string, nodes: readonly ExportRecord[]): string[] {
  const found = nodes.flatMap(({ groups }) => {
    const child = groups[groups.indexOf(group) - 1];
    return groups.includes(group) && child !== undefined ? [child] : [];
  });
  return [...new Set(found)].toSorted();
}

/** Ansible's groups are named as variables are, other than ours, and two of its own are there already. */
function groupNames(nodes: readonly ExportRecord[]): Map<string, string> {
  const names = new Map<string, string>();
  const taken = new Set(['all', 'ungrouped', ...nodes.map(({ name }) => String(name))]);
  for (const group of byGroup(nodes).keys()) {
    let name = group.replaceAll(/[^A-Za-z0-9_]/g, '_').replace(/^(?=\d)/, '_');
    while (taken.has(name)) {
      name = `${name}_`;
    }
    taken.add(name);
    names.set(group, name);
  }
  return names;
}
