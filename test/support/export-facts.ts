import { parseNodeName } from '#src/domain/node.ts';
import type { ExportFacts, ExportRecord } from '#src/policy/exports/record.ts';
import { operatorKey } from './nodes.ts';

export function exportRecord(name: string, facts: Partial<ExportRecord> = {}): ExportRecord {
  return {
    name: parseNodeName(name),
    macs: [],
    groups: [],
    labels: {},
    image: 'debian-13',
    overlay: 'persistent',
    state: 'ready',
    registered: {},
    ...facts,
  };
}

/** Two racks of Pis whose groups lie in a wider one, a PC, and a node that nobody has seen yet. */
export function exportFacts(change: Partial<ExportFacts> = {}): ExportFacts {
  const red = [5, 6, 7].map((number) =>
    exportRecord(`red${number}`, {
      address: `10.77.0.${number}`,
      serial: `91cdf03${number}`,
      macs: [`b8:27:eb:00:00:0${number}`],
      model: 'Raspberry Pi 4B',
      groups: ['pi-workers', 'lab'],
      labels: { rack: number === 7 ? 'b' : 'a', 'odd/name': 'two words, and 5%' },
      arch: 'arm64',
      hardware: { cores: 4, memoryMiB: 3792 },
      hostKey: `${operatorKey.split(' ').slice(0, 2).join(' ')} red${number}`,
    }),
  );
  const pc = exportRecord('pc1', {
    address: '10.77.0.101',
    groups: ['lab'],
    arch: 'amd64',
    image: 'hpc:stable',
    hardware: { cores: 16, memoryMiB: 31_822 },
  });
  return {
    nodes: [exportRecord('blue9'), pc, ...red],
    domain: 'cluster.internal',
    hostCa: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDcppXlGIxNFFbYsaVXrR5ewlT5tC8PWm2VDu04ETiGU ca',
    user: 'root',
    metricsPort: 9100,
    ...change,
  };
}
