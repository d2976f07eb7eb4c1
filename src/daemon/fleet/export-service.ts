/** The fleet in the formats of other programs. */
import { documentOf } from '../../config/fleet-document.ts';
import { exportFormatNames, exportFormats, parseExportFormat } from '../../domain/export-format.ts';
import type { Ipv4 } from '../../domain/ipv4.ts';
import type { Node } from '../../domain/node.ts';
import type { ExportRecord, Registered } from '../../policy/exports/record.ts';
import { renderers } from '../../policy/exports/renderers.ts';
import type { ExportAdmin } from '../../servers/http/admin/export-routes.ts';
import type { NodeStore } from '../../store/nodes.ts';
import type { BootSessions } from '../boot-sessions.ts';
import type { HostKeys } from '../identity.ts';
import { nodesOf } from './select-nodes.ts';

export interface ExportServiceOptions {
  readonly nodes: NodeStore;
  readonly sessions: Pick<BootSessions, 'of'>;
  readonly hostKeys: Pick<HostKeys, 'known'>;
  /** Of the authority that signs the keys of hosts. */
  readonly hostCa: () => Promise<string>;
  readonly addressOf: (node: Node) => Ipv4 | undefined;
  readonly domain: string;
}

/** Of node_exporter. */
const usualMetricsPort = 9100;

export function createExportService(options: ExportServiceOptions): ExportAdmin {
  const { nodes, hostCa, domain } = options;
  return {
    formats: () => exportFormatNames.map((name) => ({ name, about: exportFormats[name] })),
    render: async (format, { nodes: names, jump, user = 'root', port = usualMetricsPort }) => {
      const { render, mediaType } = renderers[parseExportFormat(format)];
      const chosen = names === undefined ? nodes.list() : nodesOf(nodes, names);
      const text = render({
        nodes: await Promise.all(chosen.map((node) => recordOf(node, options))),
        domain,
        hostCa: await hostCa(),
        user,
        metricsPort: port,
        ...(jump === undefined ? {} : { jump }),
      });
      return { text, mediaType };
    },
  };
}

/** Also what templates are given. */
export async function recordOf(
  node: Node,
  { sessions, hostKeys, addressOf }: Pick<ExportServiceOptions, 'sessions' | 'hostKeys' | 'addressOf'>,
): Promise<ExportRecord> {
  const session = sessions.of(node.name);
  const address = addressOf(node);
  const hostKey = await hostKeys.known(node.name);
  return {
    name: node.name,
    ...(address === undefined ? {} : { address }),
    ...(node.serial === undefined ? {} : { serial: node.serial }),
    macs: node.macs,
    ...(node.model === undefined ? {} : { model: node.model }),
    groups: node.groups,
    labels: node.settings.labels ?? {},
    ...(session ? { arch: session.arch } : {}),
    image: node.image,
    overlay: node.overlay,
    state: session ? (session.outcome === 'running' ? session.stage : session.outcome) : 'never booted',
    ...(session?.hardware ? { hardware: session.hardware } : {}),
    ...(hostKey ? { hostKey: hostKey.publicKey } : {}),
    registered: registeredOf(node),
  };
}

function registeredOf({ serial, macs, address, group, own }: Node): Registered {
  const [mac] = macs;
  const { image, overlay, dataVolume, labels } = documentOf(own);
  return {
    ...(serial === undefined ? {} : { serial }),
    ...(serial === undefined && mac !== undefined ? { mac } : {}),
    ...(address === undefined ? {} : { ip: address }),
    ...(group === undefined ? {} : { group }),
    ...(typeof image === 'string' ? { image } : {}),
    ...(typeof overlay === 'string' ? { overlay } : {}),
    ...(typeof dataVolume === 'string' ? { dataVolume } : {}),
    ...(labels ? { labels: labels as Readonly<Record<string, string>> } : {}),
  };
}
