/** The composition root: builds everything, binds everything, then serves, then says ready. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Places } from '../config/places.ts';
import type { Settings } from '../config/schema.ts';
import { messageOf } from '../domain/errors.ts';
import type { Image } from '../domain/image.ts';
import { contains, type Ipv4 } from '../domain/ipv4.ts';
import { bootProgramPlaces } from '../images/boot-programs.ts';
import { ImageCatalog } from '../images/catalog.ts';
import type { Logger } from '../log/logger.ts';
import { findInterface, listInterfaces, readNeighbours } from '../net/interfaces.ts';
import { DataVolumes } from '../overlays/data-volumes.ts';
import { MergedViews } from '../overlays/merged-view.ts';
import { OverlayDisks } from '../overlays/overlay-disks.ts';
import { StoreSpace } from '../overlays/store-space.ts';
import { Turns } from '../overlays/turns.ts';
import { kernelFiles } from '../policy/pi-kernels.ts';
import { plainKernelFile } from '../policy/render-config.ts';
import { removeTree } from '../process/remove-tree.ts';
import { listenUnix } from '../servers/http/listen.ts';
import { fenceDisks, holdDisk } from '../servers/nbd/fence.ts';
import { DataThreads } from '../servers/tftp/data-threads.ts';
import { ClaimStore } from '../store/claims.ts';
import { openDatabase } from '../store/database.ts';
import { ImageTagStore } from '../store/image-tags.ts';
import { JobStore } from '../store/jobs.ts';
import { LeaseStore } from '../store/leases.ts';
import { NodeStore } from '../store/nodes.ts';
import { SessionStore } from '../store/sessions.ts';
import { AgentOrders } from './agent-orders.ts';
import { loadBootKey } from './boot-key.ts';
import { BootRamdisks } from './boot-ramdisk.ts';
import { BootService } from './boot-service.ts';
import { BootSessions } from './boot-sessions.ts';
import { DiskCopies } from './disk-copies.ts';
import { Exports } from './exports.ts';
import { bootAssets, FileCache, imageFiles, perNodeText, plainKernel } from './file-sources.ts';
import { createExporting } from './fleet/exporting.ts';
import { NodeContents } from './fleet/node-contents.ts';
import { ImageVersions } from './image-versions.ts';
import { InterfaceWatch } from './interface-watch.ts';
import { Jobs } from './jobs.ts';
import { openKeys } from './kept-keys.ts';
import { LiveRefresh } from './live-refresh.ts';
import { nodeAddresses, nodeArchitectures } from './node-addresses.ts';
import { NodeDisksMaker } from './node-disks.ts';
import { NodeFinder } from './node-finder.ts';
import { NodeHandover } from './node-handover.ts';
import { NodeVitals } from './node-vitals.ts';
import { createOperatorFace } from './operator-face.ts';
import { listOverlayDigests } from './overlay-digests.ts';
import { ramdiskSource } from './pi-boot-files.ts';
import { refuseAfterCrash } from './refuse-after-crash.ts';
import { type ServedInterface, type ServingParts, type ServingState, serveInterface } from './serve-interface.ts';
import { Services } from './services/services.ts';
import { lockState } from './state-lock.ts';
import { StoreWatch } from './store-watch.ts';
import { systemClock } from './system-clock.ts';
import { TftpReports } from './tftp-reports.ts';
import { UnclaimedBoards } from './unclaimed.ts';

/** Leases that are new within this time share one write to the disk. */
const leaseGroupMs = 2;
const lookAfterClientMs = 1000;
/** A command that follows a job asks several times a second how it ended. */
const looksBeforeEnd = 5;
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
  stack.use(await lockState(places, options.isUnwanted !== undefined, signal));
  await mkdir(places.run, { recursive: true, mode: 0o755 });
  await mkdir(places.fences, { recursive: true });
  // What an earlier run left half-made.
  await removeTree(places.work).catch((error: unknown) => {
    log.error({ folder: places.work, reason: messageOf(error) }, 'left-overs of an earlier run could not be removed');
  });
  const database = openDatabase(places.database);
  stack.defer(() => database.close());

  const clock = systemClock;
  const nodes = new NodeStore(database, settings.defaultImage);
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
  const keys = await openKeys(places.keys, nodes, clock);
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
  const jobs = stack.use(new Jobs(clock, log, new JobStore(database)));
  const versions = new ImageVersions({ places, images, tags, jobs, nodes, sessions, overlays: () => listOverlayDigests(places.overlays) });
  const addressOf = nodeAddresses(sessions, leases);
  const contents = new NodeContents({
    authorizedKeys: settings.authorizedKeys,
    domain: settings.domain,
    sshCa: await keys.sshCa.publicKey(),
    addressOf,
    archOf: nodeArchitectures(sessions),
    drawOf: (secret, node) => keys.secrets.drawOf(secret, node),
    nextImages: (wanted) => versions.nextOf(wanted),
    servicesOf: (node) => services.forNode(node),
  });
  const handover = new NodeHandover({
    nodes,
    leases,
    sessions,
    images,
    disks,
    exports,
    ...keys,
    domain: settings.domain,
    contents,
    httpPort: settings.httpPort,
    nbdPort: settings.nbdPort,
    ephemeralPercent: settings.ephemeralPercent,
    clock,
    log,
  });
  const agents = new AgentOrders(sessions, clock);
  const vitals = new NodeVitals(sessions, clock);
  const exporting = createExporting({ settings, nodes, sessions, hostKeys: keys.hostKeys, ca: keys.sshCa, addressOf, clock, log });
  stack.use(exporting.files);
  const services = new Services({
    settings,
    places,
    nodes,
    leases,
    sessions,
    addressOf,
    interfaces,
    clock,
    log,
  });
  const refresh = stack.use(new LiveRefresh({ nodes, sessions, contents, agents, addressOf, clock, log }));
  const threads = settings.tftpThreads === 0 ? undefined : stack.use(new DataThreads(settings.tftpThreads));
  const serving: ServingState = { dhcp: new Map(), badPackets: { badDhcp: 0, badTftp: 0 } };

  const storeWatch = stack.use(new StoreWatch({ space, directories: [overlays.directory, data.directory], fences, clock, log }));
  await storeWatch.start();
  await services.restore();
  await refuseAfterCrash({ exports, nodes, sessions, data, log });
  const parts: ServingParts = {
    places,
    settings,
    nodes,
    leases,
    sessions,
    finder,
    boot,
    ramdisks,
    handover,
    agents,
    refresh,
    vitals,
    exportFiles: exporting.files,
    services,
    reports,
    threads,
    isOurs: (address) => interfaces.some((entry) => entry.facts.address === address),
    clock,
    log,
  };
  const serve = (entry: ServedInterface): Promise<AsyncDisposable> => serveInterface(parts, serving, entry);
  const watch = stack.use(new InterfaceWatch({ interfaces, list: listInterfaces, serve, clock, log }));
  await watch.start();
  exports.startServing(clock);
  exporting.files.start();
  refresh.start();

  const copies = new DiskCopies({ overlays, sessions, exports, agents, hold, clock });
  const face = createOperatorFace({
    places,
    settings,
    nodes,
    leases,
    claims: new ClaimStore(database),
    sessionStore,
    sessions,
    unclaimed,
    images,
    versions,
    contents,
    overlays,
    data,
    views,
    disks,
    exports,
    space,
    turns,
    ...keys,
    copies,
    refresh,
    jobs,
    services,
    addressOf,
    agents,
    vitals,
    exporting,
    served: () =>
      interfaces
        .filter((entry) => entry.settings.mode === 'full')
        .flatMap(({ settings: { subnet, relayed }, facts }) =>
          [subnet ?? facts.subnet, ...relayed.map((far) => far.subnet)].map((own) => ({ address: facts.address, subnet: own })),
        ),
    isServing: () => interfaces.length > 0,
    status: async () => ({
      pid: process.pid,
      store: await space.now(),
      state: places.state,
      interfaces: interfaces.map(({ settings: { name, mode }, facts }) => ({
        name,
        mode,
        address: facts.address,
        ...serving.dhcp.get(name)?.(),
      })),
      badPackets: serving.badPackets,
    }),
    clock,
    log,
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
}

/** @returns what stops the looking */
function endUnwanted({ isUnwanted }: DaemonOptions, jobs: Jobs, end: () => void): () => void {
  let cancel = (): void => {};
  let idleLooks = 0;
  const look = (): void => {
    cancel = systemClock.after(lookAfterClientMs, () => {
      idleLooks = isUnwanted?.() && jobs.running().length === 0 ? idleLooks + 1 : 0;
      return idleLooks === looksBeforeEnd ? end() : look();
    });
  };
  if (isUnwanted) {
    look();
  }
  return () => cancel();
}
