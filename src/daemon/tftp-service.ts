/** TFTP on one interface: its port, its files, its data path. */
import type { InterfaceSettings, Settings } from '../config/schema.ts';
import type { Clock } from '../domain/clock.ts';
import type { Logger } from '../log/logger.ts';
import type { InterfaceFacts } from '../net/interfaces.ts';
import { openUdpDescriptor } from '../net/libc.ts';
import { openUdpEndpoint, type UdpEndpoint } from '../net/udp-endpoint.ts';
import type { DataPath } from '../servers/tftp/data-path.ts';
import type { DataThreads } from '../servers/tftp/data-threads.ts';
import { DatagramPath } from '../servers/tftp/datagram-path.ts';
import { SinglePort } from '../servers/tftp/single-port.ts';
import { TftpServer } from '../servers/tftp/tftp-server.ts';
import type { BootService } from './boot-service.ts';
import type { TftpReports } from './tftp-reports.ts';

const port = 69;
const maxTransfers = 2048;
const maxTransfersPerClient = 32;

export interface TftpServiceOptions {
  readonly settings: Settings;
  readonly wanted: InterfaceSettings;
  readonly facts: InterfaceFacts;
  readonly boot: BootService;
  readonly reports: TftpReports;
  /** Absent when all blocks go through Node's own sockets. */
  readonly threads: DataThreads | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onBadPacket: () => void;
}

/** @throws SystemError EADDRINUSE when the port is taken */
export function startTftp(options: TftpServiceOptions, stack: AsyncDisposableStack): void {
  const { settings, facts, boot, reports, threads, clock, log } = options;
  const onError = (error: Error): void => log.warn({ reason: error.message }, 'tftp socket');
  const common = { interfaceName: facts.name, address: facts.address, onError };
  const onBadPacket = (reason: string): void => {
    options.onBadPacket();
    log.debug({ reason, interface: facts.name }, 'bad tftp packet');
  };
  const singlePort = new SinglePort(() => endpoint);
  const dataPath: DataPath =
    threads && !settings.tftpSinglePort
      ? threads.path(() => openUdpDescriptor(facts.name, facts.address, 0))
      : new DatagramPath({
          clock,
          openEndpoint: settings.tftpSinglePort
            ? singlePort.open
            : (_peer, onMessage) => openUdpEndpoint({ ...common, port: 0, onMessage }),
          onBadPacket,
        });
  const server = new TftpServer({
    clock,
    dataPath,
    read: (filename, peer) => boot.readTftp(filename, peer.address, { name: facts.name, address: facts.address }),
    report: (report) => void reports.note(report).catch((error: unknown) => log.error({ err: error }, 'tftp report failed')),
    onBadPacket,
    onFailure: (error) => log.error({ err: error }, 'tftp request failed'),
    maxTransfers,
    maxTransfersPerClient,
  });
  stack.defer(() => server.close());
  const endpoint: UdpEndpoint = stack.use(
    openUdpEndpoint({
      ...common,
      port,
      onMessage: (data, peer) => {
        if (!(settings.tftpSinglePort && singlePort.receive(data, peer))) {
          server.receive(data, peer, endpoint.send);
        }
      },
    }),
  );
}
