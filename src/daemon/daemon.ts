/** The composition root: builds everything, binds everything, then serves, then says ready. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Places } from '../config/places.ts';
import type { InterfaceSettings, Settings } from '../config/schema.ts';
import type { Image } from '../domain/image.ts';
import { contains, type Ipv4 } from '../domain/ipv4.ts';
import { bootProgramPlaces } from '../images/boot-programs.ts';
import { ImageCatalog } from '../images/catalog.ts';
import type { Logger } from '../log/logger.ts';
import { findInterface, type InterfaceFacts, listInterfaces, readNeighbours } from '../net/interfaces.ts';
import { DataVolumes } from '../overlays/data-volumes.ts';
import { MergedViews } from '../overlays/merged-view.ts';
import { OverlayDisks } from '../overlays/overlay-disks.ts';
import { StoreSpace } from '../overlays/store-space.ts';
import { Turns } from '../overlays/turns.ts';
import { kernelFiles } from '../policy/pi-kernels.ts';
import { plainKernelFile, renderIpxeStart } from '../policy/render-config.ts';
import { createAdminFace } from '../servers/http/admin-face.ts';
import { listenTcp, listenUnix } from '../servers/http/listen.ts';
import { createNodeFace } from '../servers/http/node-face.ts';
import { fenceDisks, holdDisk } from '../servers/nbd/fence.ts';
import { NbdServer } from '../servers/nbd/nbd-server.ts';
import { DataThreads } from '../servers/tftp/data-threads.ts';
import { openDatabase } from '../store/database.ts';
import { ImageTagStore } from '../store/image-tags.ts';
import { JobStore } from '../store/jobs.ts';
import { LeaseStore } from '../store/leases.ts';
import { NodeStore } from '../store/nodes.ts';
import { SessionStore } from '../store/sessions.ts';
import { createAdminService } from './admin-service.ts';
import { AgentOrders } from './agent-orders.ts';
import { loadBootKey } from './boot-key.ts';
import { BootRamdisks } from './boot-ramdisk.ts';
import { BootService, type Face } from './boot-service.ts';
import { BootSessions } from './boot-sessions.ts';
import { createCommitService } from './commit-service.ts';
import { startDhcp } from './dhcp-service.ts';
import { DiskCopies } from './disk-copies.ts';
import { Exports } from './exports.ts';
import { bootAssets, FileCache, imageFiles, perNodeText, plainKernel } from './file-sources.ts';
import { HostKeys } from './identity.ts';
import { createVersionService, ImageInspection } from './image-inspection.ts';
import { createImageService } from './image-service.ts';
import { ImageVersions } from './image-versions.ts';
import { InterfaceWatch } from './interface-watch.ts';
import { Jobs } from './jobs.ts';
import { startNetconsole } from './netconsole-service.ts';
import { NodeDisksMaker } from './node-disks.ts';
import { NodeFinder } from './node-finder.ts';
import { NodeHandover } from './node-handover.ts';
import { assertPortFree, orNamePortOwner } from './open-port.ts';
import { listOverlayDigests } from './overlay-digests.ts';
import { createOverlayService } from './overlay-service.ts';
import { piHttpBoot, ramdiskSource } from './pi-boot-files.ts';
import { refuseAfterCrash } from './refuse-after-crash.ts';
import { lockState } from './state-lock.ts';
import { StoreWatch } from './store-watch.ts';
import { systemClock } from './system-clock.ts';
import { TftpReports } from './tftp-reports.ts';
import { startTftp } from './tftp-service.ts';
import { UnclaimedBoards } from './unclaimed.ts';

/** Leases that are new within this time share one write to the disk. */
const leaseGroupMs = 2;
const lookAfterClientMs = 1000;
const fileCacheBytes = 512 * 2 ** 20;

export interface DaemonOptions {
  readonly places: Places;
  readonly settings: Settings;
  readonly log: Logger;
  /** Looked at now and then: once it is true and no job is left, the server ends. */
  readonly isUnwanted?: () => boolean;
}

/** Runs until `signal` fires. `onReady` is called once everything answers. */
export async function runDaemon(options: DaemonOptions, signal: AbortSignal, onReady: () => void): Promise<void> {
  const { places, settings, log } = options;
  await using stack = new AsyncDisposableStack();
  const served = settings.interfaces.filter((entry) => entry.mode !== 'off');
  const interfaces = await Promise.all(served.map(async (entry) => ({ settings: entry, facts: await findInterface(entry.name) })));
  stack.use(lockState(places));
  await mkdir(places.run, { recursive: true, mode: 0o755 });
  await mkdir(places.fences, { recursive: true });
  // What an earlier run left half-made.
  await rm(places.work, { recursive: true, force: true });
  const database = openDatabase(places.database);
  stack.defer(() => database.close());

  const clock = systemClock;
  const nodes = new NodeStore(database);
  const leases = new LeaseStore(database, (commit) => void clock.after(leaseGroupMs, commit));
  const sessionStore = new SessionStore(database);
  const sessions = new BootSessions(sessionStore, clock, log);
  stack.defer(() => sessions.close());
  const tags = new ImageTagStore(database);
  const images = new ImageCatalog(places.images, tags);
  const overlays = new OverlayDisks({ directory: places.overlays, bytes: settings.overlayBytes });
  const exports = new Exports(places.exports);
  const data = new DataVolumes(places.data);
  const views = new MergedViews(places.mounts);
  await Promise.all([overlays.start(), data.start(), views.start()]);
  const space = new StoreSpace([places.overlays, places.data], settings.storeReserveBytes);
  const turns = new Turns();
  const fences = { records: places.fences };
  const hold = (disk: string): Promise<AsyncDisposable> => holdDisk(fences, disk);
  const disks = new NodeDisksMaker({
    nodes,
    images,
    overlays,
    data,
    space,
    exports,
    turns,
    overlayBytes: settings.overlayBytes,
    dataBytes: settings.dataBytes,
    work: places.work,
    fence: (directories) => Promise.all(directories.map((directory) => fenceDisks(fences, directory))),
  });
  const hostKeys = new HostKeys(places.keys);
  const unclaimed = new UnclaimedBoards(clock);
  const cache = new FileCache(fileCacheBytes);
  const programFiles = bootAssets(await bootProgramPlaces(places.cache), cache);
  const finder = new NodeFinder({ nodes, leases, neighbours: readNeighbours, isLeased, clock });
  const imagePath = (image: Image, file: string): string => images.pathOf(image.digest, file);
  const ofImage = imageFiles(imagePath, cache);
  const bootKey = settings.bootKey === undefined ? undefined : await loadBootKey(settings.bootKey);
  const ramdisks = new BootRamdisks({ directory: join(places.work, 'boot-ramdisk'), pathOf: imagePath, key: bootKey });
  const boot = new BootService({
    nodes,
    finder,
    sessions,
    unclaimed,
    images,
    fileSources: [
      perNodeText,
      ramdiskSource({ ramdisks, sessions, log }, cache),
      ofImage,
      plainKernel(ofImage, kernelFiles.arm64, plainKernelFile),
      programFiles,
    ],
    programs: programFiles,
    httpPort: settings.httpPort,
    tftpPrefixes: settings.tftpPrefixes,
    fixedAddresses: settings.fixedAddresses,
    bootRamdisk: settings.bootRamdisk,
    clock,
    log,
  });
  const reports = new TftpReports({ finder, sessions, tftpPrefixes: settings.tftpPrefixes, clock, log });
  const handover = new NodeHandover({
    nodes,
    leases,
    sessions,
    images,
    disks,
    exports,
    hostKeys,
    authorizedKeys: settings.authorizedKeys,
    httpPort: settings.httpPort,
    nbdPort: settings.nbdPort,
    ephemeralPercent: settings.ephemeralPercent,
    clock,
    log,
  });
  const agents = new AgentOrders(sessions, clock);
  const jobs = stack.use(new Jobs(clock, log, new JobStore(database)));
  const threads = settings.tftpThreads === 0 ? undefined : stack.use(new DataThreads(settings.tftpThreads));
  const dhcpStatus = new Map<string, () => object>();
  const counters = { badDhcp: 0, badTftp: 0 };
  const countBadTftp = (): void => {
    counters.badTftp += 1;
  };

  const storeWatch = stack.use(new StoreWatch({ space, directories: [overlays.directory, data.directory], fences, clock, log }));
  await storeWatch.start();
  await refuseAfterCrash({ exports, nodes, sessions, data, log });
  const watch = stack.use(new InterfaceWatch({ interfaces, list: listInterfaces, serve: serveInterface, clock, log }));
  await watch.start();
  exports.startServing(clock);

  const versions = new ImageVersions({ places, images, tags, jobs, nodes, sessions, overlays: () => listOverlayDigests(places.overlays) });
  const admin = createAdminService({
    settings,
    imageRef: (text, force) => versions.assignable(text, force),
    nextImages: (node) => versions.nextOf(node),
    nodes,
    sessionStore,
    sessions,
    unclaimed,
    overlays,
    data,
    exports,
    turns,
    hostKeys,
    addressOf: (node) => handover.addressOf(node),
    get served() {
      return interfaces
        .filter((entry) => entry.settings.mode === 'full')
        .flatMap(({ settings: { subnet, relayed }, facts }) =>
          [subnet ?? facts.subnet, ...relayed.map((far) => far.subnet)].map((own) => ({ address: facts.address, subnet: own })),
        );
    },
    leaseHolder: (address) => leases.nodeOf(address),
    status: async () => ({
      pid: process.pid,
      store: await space.now(),
      state: places.state,
      interfaces: interfaces.map(({ settings: { name, mode }, facts }) => ({
        name,
        mode,
        address: facts.address,
        ...dhcpStatus.get(name)?.(),
      })),
      badPackets: counters,
    }),
  });
  const onFailure = (error: unknown): void => log.error({ err: error }, 'request failed');
  const versionAdmin = createVersionService(versions, new ImageInspection({ places, settings, images, versions, jobs }));
  const copies = new DiskCopies({ overlays, sessions, exports, agents, hold, clock });
  const commits = createCommitService({ places, nodes, sessions, images, overlays, jobs, copies, turns, space, clock });
  const overlayAdmin = createOverlayService({
    nodes,
    sessions,
    images,
    overlays,
    data,
    views,
    disks,
    exports,
    space,
    turns,
    jobs,
    viewsDirectory: join(places.state, 'views'),
    quotaBytes: settings.overlayQuotaBytes,
    copies,
    clock,
  });
  const face = createAdminFace({
    ...admin,
    images: createImageService({ places, versions, jobs }),
    versions: versionAdmin,
    commits,
    overlays: overlayAdmin,
    jobs,
    onFailure,
  });
  stack.use(await listenUnix(face, places.adminSocket));
  log.info(
    { state: places.state, interfaces: interfaces.map((entry) => `${entry.facts.name} ${entry.settings.mode} ${entry.facts.address}`) },
    'ready',
  );
  onReady();
  if (!signal.aborted) {
    await new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true });
      stack.defer(endUnwanted(options, jobs, resolve));
    });
  }
  log.info('stopping');

  function isLeased(address: Ipv4): boolean {
    return interfaces.some(
      ({ settings: wanted, facts }) =>
        wanted.mode === 'full' &&
        [wanted.subnet ?? facts.subnet, ...wanted.relayed.map(({ subnet }) => subnet)].some((subnet) => contains(subnet, address)),
    );
  }

  async function serveInterface({
    settings: wanted,
    facts,
  }: {
    settings: InterfaceSettings;
    facts: InterfaceFacts;
  }): Promise<AsyncDisposable> {
    await using stack = new AsyncDisposableStack();
    const face: Face = { name: facts.name, address: facts.address };
    const dhcp = stack.use(
      await startDhcp({
        wanted,
        facts,
        nodes,
        leases,
        finder,
        clock,
        log,
        settings,
        isOurs: (address) => interfaces.some((entry) => entry.facts.address === address),
        report: (report) => boot.onDhcp(report, face),
        onBadPacket: () => {
          counters.badDhcp += 1;
        },
      }),
    );
    dhcpStatus.set(facts.name, dhcp.status);
    await orNamePortOwner('udp', 69, facts.address, () => {
      startTftp({ settings, wanted, facts, boot, reports, threads, clock, log, onBadPacket: countBadTftp }, stack);
      return Promise.resolve();
    });
    stack.defer(startNetconsole({ interfaceName: facts.name, port: settings.netconsolePort, nodes, sessions, clock, log }));
    await orNamePortOwner('tcp', settings.httpPort, facts.address, async () =>
      stack.use(await listenTcp(nodeFace(face), facts.address, settings.httpPort)),
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

  function nodeFace(face: Face): ReturnType<typeof createNodeFace> {
    return createNodeFace({
      ipxeStart: () => renderIpxeStart(face.address, settings.httpPort),
      ipxeBoot: (query, peer) => boot.ipxeBoot(query, peer, face),
      bootFile: (token, name) => boot.bootFile(token, name),
      program: (name, peer) => boot.bootProgram(name, peer),
      grubConfig: (peer) => boot.grubConfig(peer, face),
      plan: (token, peer) => handover.plan(token, peer),
      seed: (token, peer) => handover.seed(token, peer, face.address),
      event: (token, peer, name, detail) => handover.event(token, peer, name, detail),
      ready: (key, peer) => handover.ready(key, peer),
      agent: agents,
      space: (key, peer, what, percent) => handover.space(key, peer, what, percent),
      piBoot: piHttpBoot({ boot, ramdisks, sessions, log }, face),
      onFailure: (error) => log.error({ err: error }, 'node request failed'),
    });
  }
}

/** @returns what stops the looking */
function endUnwanted({ isUnwanted }: DaemonOptions, jobs: Jobs, end: () => void): () => void {
  let cancel = (): void => {};
  const look = (): void => {
    cancel = systemClock.after(lookAfterClientMs, () => (isUnwanted?.() && jobs.running().length === 0 ? end() : look()));
  };
  if (isUnwanted) {
    look();
  }
  return () => cancel();
}
