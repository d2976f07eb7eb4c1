/** What programs that know nodes by name and address read. */
import { coresOf, type ExportFacts, namesOf } from './record.ts';

const head = '# Written by Cardless. Changes are lost.';

export function lines(texts: readonly string[]): string {
  return [head, ...texts, ''].join('\n');
}

/** hosts(5). */
export function renderHosts({ nodes, domain }: ExportFacts): string {
  return lines(
    nodes.map((node) =>
      node.address === undefined ? `# ${node.name} has no address yet` : `${node.address} ${namesOf(node, domain).toReversed().join(' ')}`,
    ),
  );
}

/** Parts of dnsmasq.conf(5): fixed addresses for those whose MAC is known, and names for all. */
export function renderDnsmasq({ nodes, domain }: ExportFacts): string {
  return lines(
    nodes.flatMap((node) => {
      const { address, macs, name } = node;
      const [mac] = macs;
      return [
        ...(mac === undefined ? [] : [`dhcp-host=${[mac, ...(address === undefined ? [] : [address]), name].join(',')}`]),
        ...(address === undefined ? [] : [`host-record=${[...namesOf(node, domain), address].join(',')}`]),
      ];
    }),
  );
}

/** Open MPI's hostfile: as many processes as a node has cores. */
export function renderMpi({ nodes }: ExportFacts): string {
  return lines(
    nodes.map((node) => {
      const cores = coresOf(node);
      return cores === undefined ? node.name : `${node.name} slots=${cores}`;
    }),
  );
}
