import { anyAddress, type Ipv4, parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import type { UdpEndpoint } from '#src/net/udp-endpoint.ts';
import type { DhcpMode } from '#src/policy/decide-dhcp.ts';
import { type DhcpAddresses, type DhcpReport, DhcpServer } from '#src/servers/dhcp/dhcp-server.ts';
import { DatagramPath } from '#src/servers/tftp/datagram-path.ts';
import { type FileAnswer, type TftpReport, TftpServer } from '#src/servers/tftp/tftp-server.ts';
import type { MemoryNetwork } from './memory-network.ts';
import { testNode } from './nodes.ts';

export const serverAddress: Ipv4 = parseIpv4('10.77.0.1');
const red5 = testNode('red5');
export const boardAddress: Ipv4 = parseIpv4('10.77.0.20');

export interface TestTftp {
  readonly server: TftpServer;
  readonly reports: TftpReport[];
  readonly bad: string[];
  readonly endpoint: UdpEndpoint;
}

export function startTftp(
  network: MemoryNetwork,
  read: (filename: string) => FileAnswer,
  limits = { maxTransfers: 64, maxTransfersPerClient: 8 },
): TestTftp {
  const reports: TftpReport[] = [];
  const bad: string[] = [];
  const server = new TftpServer({
    clock: network.clock,
    read: (filename) => Promise.resolve(read(filename)),
    dataPath: new DatagramPath({
      clock: network.clock,
      openEndpoint: (_peer, onMessage) => network.open(serverAddress, 0, onMessage),
      onBadPacket: (reason) => bad.push(reason),
    }),
    report: (report) => reports.push(report),
    onBadPacket: (reason) => bad.push(reason),
    onFailure: (error) => {
      throw error;
    },
    ...limits,
  });
  const endpoint: UdpEndpoint = network.open(serverAddress, 69, (data, peer) => server.receive(data, peer, endpoint.send));
  return { server, reports, bad, endpoint };
}

export interface TestDhcp {
  readonly reports: DhcpReport[];
  readonly bad: string[];
  readonly failures: unknown[];
}

/** A server with one node, which every client is. */
export function startDhcp(network: MemoryNetwork, mode: DhcpMode, isKnown = true, addresses: Partial<DhcpAddresses> = {}): TestDhcp {
  const reports: DhcpReport[] = [];
  const bad: string[] = [];
  const failures: unknown[] = [];
  const server = new DhcpServer({
    clock: network.clock,
    facts: {
      mode,
      server: serverAddress,
      subnet: parseSubnet('10.77.0.0/24'),
      dns: [],
      leaseSeconds: 3600,
      ipxeUrl: 'http://10.77.0.1:8067/ipxe/start',
      programsUrl: 'http://10.77.0.1:8067/programs/',
      uefiLoader: 'ipxe',
    },
    findNode: () => (isKnown ? red5 : undefined),
    knownNode: () => (isKnown ? red5 : undefined),
    addresses: {
      look: () => ({ address: boardAddress }),
      keep: () => undefined,
      decline: () => {},
      probe: () => Promise.resolve(),
      ...addresses,
    },
    onFailure: (error) => failures.push(error),
    report: (report) => reports.push(report),
    onBadPacket: (reason) => bad.push(reason),
  });
  for (const port of [67, 4011] as const) {
    const endpoint: UdpEndpoint = network.open(serverAddress, port, (data, peer) => server.receive(data, peer, endpoint.send, port));
  }
  return { reports, bad, failures };
}

export { anyAddress };
