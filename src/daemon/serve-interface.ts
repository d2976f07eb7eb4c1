/** Everything that one interface serves to nodes: DHCP, the subnet's services, TFTP, netconsole, HTTP and NBD. */
import { join } from 'node:path';
import type { Places } from '../config/places.ts';
import type { InterfaceSettings, Settings } from '../config/schema.ts';
import type { Clock } from '../domain/clock.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { Logger } from '../log/logger.ts';
import type { InterfaceFacts } from '../net/interfaces.ts';
import { renderIpxeStart } from '../policy/render-config.ts';
import { listenTcp } from '../servers/http/listen.ts';
import { createNodeFace } from '../servers/http/node-face.ts';
import { NbdServer } from '../servers/nbd/nbd-server.ts';
import type { DataThreads } from '../servers/tftp/data-threads.ts';
import type { LeaseStore } from '../store/leases.ts';
import type { NodeStore } from '../store/nodes.ts';
import type { AgentOrders } from './agent-orders.ts';
import type { BootRamdisks } from './boot-ramdisk.ts';
import type { BootService, Face } from './boot-service.ts';
import type { BootSessions } from './boot-sessions.ts';
import { startDhcp } from './dhcp-service.ts';
import type { ExportFiles } from './fleet/export-files.ts';
import type { LiveRefresh } from './live-refresh.ts';
import { startNetconsole } from './netconsole-service.ts';
import type { NodeFinder } from './node-finder.ts';
import type { NodeHandover } from './node-handover.ts';
import type { NodeVitals } from './node-vitals.ts';
import { assertPortFree, orNamePortOwner } from './open-port.ts';
import { piHttpBoot } from './pi-boot-files.ts';
import type { Services } from './services/services.ts';
import type { TftpReports } from './tftp-reports.ts';
import { startTftp } from './tftp-service.ts';
import { startVitalsRelay, type VitalsRelay } from './vitals-relay.ts';

export interface ServingParts {
  readonly places: Places;
  readonly settings: Settings;
  readonly nodes: NodeStore;
  readonly leases: LeaseStore;
  readonly sessions: BootSessions;
  readonly finder: NodeFinder;
  readonly boot: BootService;
  readonly ramdisks: BootRamdisks;
  readonly handover: NodeHandover;
  readonly agents: AgentOrders;
  readonly refresh: LiveRefresh;
  readonly vitals: NodeVitals;
  readonly exportFiles: ExportFiles;
  readonly services: Services;
  readonly reports: TftpReports;
  readonly threads: DataThreads | undefined;
  readonly isOurs: (address: Ipv4) => boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface ServedInterface {
  readonly settings: InterfaceSettings;
  facts: InterfaceFacts;
}

/** What the server tells of its interfaces while it serves them. */
export interface ServingState {
  readonly dhcp: Map<string, () => object>;
  readonly badPackets: { badDhcp: number; badTftp: number };
}

export async function serveInterface(
  parts: ServingParts,
  state: ServingState,
  { settings: wanted, facts }: ServedInterface,
): Promise<AsyncDisposable> {
  const { places, settings, nodes, sessions, boot, services, clock, log } = parts;
  await using stack = new AsyncDisposableStack();
  const face: Face = { name: facts.name, address: facts.address };
  const dhcp = stack.use(
    await startDhcp({
      ...parts,
      wanted,
      facts,
      report: (report) => boot.onDhcp(report, face),
      onBadPacket: () => {
        state.badPackets.badDhcp += 1;
      },
    }),
  );
  state.dhcp.set(facts.name, dhcp.status);
  stack.use(await services.start(wanted, facts));
  await orNamePortOwner('udp', 69, facts.address, () => {
    const onBadPacket = (): void => {
      state.badPackets.badTftp += 1;
    };
    startTftp({ ...parts, wanted, facts, onBadPacket }, stack);
    return Promise.resolve();
  });
  stack.defer(startNetconsole({ interfaceName: facts.name, port: settings.netconsolePort, nodes, sessions, clock, log }));
  const group = settings.vitalsMulticast;
  const relay = group && stack.use(startVitalsRelay({ group, interfaceName: facts.name, address: facts.address, log }));
  await orNamePortOwner('tcp', settings.httpPort, facts.address, async () =>
    stack.use(await listenTcp(nodeFace(parts, face, relay), facts.address, settings.httpPort)),
  );
  const nbd = new NbdServer({
    address: facts.address,
    port: settings.nbdPort,
    directory: join(places.run, facts.name),
    exports: places.exports,
    fences: places.fences,
    clock,
    assertPortFree: () => assertPortFree(settings.nbdPort, facts.address),
    onEvent: (what, fields) => log.info(fields, what),
  });
  stack.use(nbd);
  await nbd.start();
  return stack.move();
}

function nodeFace(parts: ServingParts, face: Face, relay: VitalsRelay | undefined): ReturnType<typeof createNodeFace> {
  const { settings, boot, handover, agents, refresh, vitals, exportFiles, log } = parts;
  return createNodeFace({
    ipxeStart: () => renderIpxeStart(face.address, settings.httpPort),
    ipxeBoot: (query, peer) => boot.ipxeBoot(query, peer, face),
    bootFile: (token, name) => boot.bootFile(token, name),
    program: (name, peer) => boot.bootProgram(name, peer),
    grubConfig: (peer) => boot.grubConfig(peer, face),
    plan: (token, peer) => handover.plan(token, peer),
    seed: (token, peer) => handover.seed(token, peer, face.address),
    event: (token, peer, name, detail) => handover.event(token, peer, name, detail),
    ready: (key, peer, said) => handover.ready(key, peer, said),
    agent: agents,
    refresh,
    vitals: {
      report: (key, peer, said) => {
        vitals.report(key, peer, said);
        relay?.send(said);
      },
    },
    hook: (key, peer, kind, name, code) => handover.hook(key, peer, kind, name, code),
    space: (key, peer, what, percent) => handover.space(key, peer, what, percent),
    export: exportFiles.published,
    piBoot: piHttpBoot(parts, face),
    onFailure: (error) => log.error({ err: error }, 'node request failed'),
  });
}
