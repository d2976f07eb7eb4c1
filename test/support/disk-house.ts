/** Everything that has to do with disks of nodes, put together as the server does it, with a real nbd-server on 127.0.0.1. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { execa } from 'execa';
import { pino } from 'pino';
import { projectRoot } from '#src/config/places.ts';
import type { AgentOrders } from '#src/daemon/agent-orders.ts';
import { BootSessions } from '#src/daemon/boot-sessions.ts';
import { DiskCopies } from '#src/daemon/disk-copies.ts';
import { Exports } from '#src/daemon/exports.ts';
import { NodeContents } from '#src/daemon/fleet/node-contents.ts';
import { HostKeys } from '#src/daemon/identity.ts';
import { Jobs } from '#src/daemon/jobs.ts';
import { nodeAddresses } from '#src/daemon/node-addresses.ts';
import { NodeDisksMaker } from '#src/daemon/node-disks.ts';
import { NodeHandover } from '#src/daemon/node-handover.ts';
import { createNodeService } from '#src/daemon/node-service.ts';
import { createOverlayService } from '#src/daemon/overlay-service.ts';
import { NodeSecrets } from '#src/daemon/secrets.ts';
import { SshCa } from '#src/daemon/ssh-ca.ts';
import { systemClock } from '#src/daemon/system-clock.ts';
import { UnclaimedBoards } from '#src/daemon/unclaimed.ts';
import type { BootSession } from '#src/domain/boot-session.ts';
import { UserError, type UserErrorCode } from '#src/domain/errors.ts';
import { type Image, parseImageName } from '#src/domain/image.ts';
import { type Ipv4, parseIpv4 } from '#src/domain/ipv4.ts';
import { type NodeName, parseNodeName } from '#src/domain/node.ts';
import { ImageCatalog } from '#src/images/catalog.ts';
import { publishImage } from '#src/images/publish.ts';
import { DataVolumes } from '#src/overlays/data-volumes.ts';
import { MergedViews } from '#src/overlays/merged-view.ts';
import { OverlayDisks } from '#src/overlays/overlay-disks.ts';
import { StoreSpace } from '#src/overlays/store-space.ts';
import { Turns } from '#src/overlays/turns.ts';
import { endHolders } from '#src/process/disk-holders.ts';
import { containedCommand, run } from '#src/process/run.ts';
import { holdDisk } from '#src/servers/nbd/fence.ts';
import { NbdServer } from '#src/servers/nbd/nbd-server.ts';
import { openDatabase } from '#src/store/database.ts';
import { LeaseStore } from '#src/store/leases.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { SessionStore } from '#src/store/sessions.ts';
import { nodeRecord } from './nodes.ts';
import { endNbd } from './stopped.ts';

export const diskBytes: number = 256 * 2 ** 20;
export const peer = parseIpv4('127.0.0.1');
export const red5 = parseNodeName('red5');
export const red6 = parseNodeName('red6');

export type DiskHouse = Awaited<ReturnType<typeof openHouse>>;

export interface HouseOptions {
  readonly quotaBytes?: number;
  /** What the nodes' agents do; absent, no node has one. */
  readonly freeze?: AgentOrders['whileFrozen'];
  /** Overlays and data volumes are elsewhere, and the state folder has links to them. */
  readonly linked?: boolean;
}

const noAgent: AgentOrders['whileFrozen'] = () => Promise.resolve({ reason: 'no agent of the node listens' });

export async function openHouse({ quotaBytes, freeze = noAgent, linked = false }: HouseOptions = {}) {
  const state = await mkdtemp(join(tmpdir(), 'cardless-disks-'));
  for (const name of linked ? ['overlays', 'data'] : []) {
    await mkdir(join(state, 'elsewhere', name), { recursive: true });
    await symlink(join(state, 'elsewhere', name), join(state, name));
  }
  const log = pino({ level: 'silent' });
  const database = openDatabase(join(state, 'state.db'));
  const nodes = new NodeStore(database);
  const sessions = new BootSessions(new SessionStore(database), systemClock, log);
  const images = new ImageCatalog(join(state, 'images'));
  const overlays = new OverlayDisks({ directory: join(state, 'overlays'), bytes: diskBytes });
  const data = new DataVolumes(join(state, 'data'));
  const exports = new Exports(join(state, 'exports'));
  const space = new StoreSpace([state], 0);
  const turns = new Turns();
  const views = new MergedViews(join(state, 'mounts'));
  const disks = new NodeDisksMaker({
    nodes,
    images,
    overlays,
    data,
    space,
    exports,
    turns,
    overlayBytes: diskBytes,
    dataBytes: diskBytes,
    work: join(state, 'work'),
    fence: endHolders,
  });
  const port = await freePort();
  const fences = { records: join(state, 'fences') };
  const hostKeys = new HostKeys(join(state, 'keys'));
  const leases = new LeaseStore(database);
  const addressOf = nodeAddresses(sessions, leases);
  const contents = new NodeContents({
    authorizedKeys: [],
    domain: 'cluster.internal',
    sshCa: 'ssh-ed25519 AAAA ca',
    archOf: () => 'arm64',
    drawOf: () => undefined,
    addressOf,
    nextImages: (all) => Promise.resolve(all.map(() => [])),
  });
  const secrets = new NodeSecrets(join(state, 'keys/_secrets'), systemClock);
  const handover = new NodeHandover({
    nodes,
    leases,
    sessions,
    images,
    disks,
    exports,
    hostKeys,
    sshCa: new SshCa(join(state, 'keys/_ca')),
    domain: 'cluster.internal',
    secrets,
    contents,
    httpPort: 8067,
    nbdPort: port,
    ephemeralPercent: 40,
    clock: systemClock,
    log,
  });
  const jobs = new Jobs(systemClock, log);
  const copies = new DiskCopies({
    overlays,
    sessions,
    exports,
    agents: { whileFrozen: freeze },
    hold: (disk) => holdDisk(fences, disk),
    clock: systemClock,
  });
  const service = createOverlayService({
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
    viewsDirectory: join(state, 'views'),
    quotaBytes,
    copies,
    clock: systemClock,
  });
  const admin = createNodeService({
    nodes,
    sessionStore: new SessionStore(database),
    sessions,
    unclaimed: new UnclaimedBoards(systemClock),
    overlays,
    data,
    exports,
    turns,
    hostKeys,
    secrets,
    contents,
    vitals: { of: () => undefined },
    addressOf,
    facts: { domain: 'cluster.internal', served: [], leaseHolder: () => undefined },
    imageRef: (text) => Promise.resolve(parseImageName(text)),
    nextImages: () => Promise.resolve([]),
    onChange: () => {},
  });
  const nbd = new NbdServer({
    address: peer,
    port,
    directory: join(state, 'run'),
    exports: join(state, 'exports'),
    fences: fences.records,
    clock: systemClock,
    assertPortFree: () => Promise.resolve(),
    onEvent: () => {},
  });
  await nbd.start();
  const add = (name: NodeName, change: Parameters<typeof nodeRecord>[1] = {}): void =>
    nodes.add([nodeRecord(name, { image: parseImageName('small'), ...change })]);
  return {
    state,
    nodes,
    sessions,
    images,
    overlays,
    data,
    exports,
    space,
    disks,
    fences,
    handover,
    service,
    jobs,
    admin,
    port,
    log,
    add,
    /** From power-on to the plan, which is what the initramfs gets. It is taken to come up, unless it is told to hang there. */
    boot: async (
      name: NodeName,
      image: Image,
      outcome: BootSession['outcome'] = 'ready',
    ): Promise<{ plan: string; session: () => BootSession | undefined }> => {
      const { token } = sessions.open({ node: name, arch: image.arch, client: 'ipxe', digest: image.digest });
      const plan = await handover.plan(token, peer);
      sessions.change(name, { outcome });
      return { plan, session: () => sessions.of(name) };
    },
    ended: async (started: object): Promise<Record<string, unknown>[]> => {
      const { id } = started as { id: string };
      while (jobs.get(id).state === 'running') {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      const { error, result } = jobs.get(id);
      if (error) {
        throw new UserError(error.code as UserErrorCode, error.message, error.hint === undefined ? {} : { hint: error.hint });
      }
      const { done } = result as { done: Record<string, unknown>[] };
      return done;
    },
    [Symbol.asyncDispose]: async () => {
      await endNbd(join(state, 'run/nbd-server.conf'), nbd);
      await jobs[Symbol.asyncDispose]();
      sessions.close();
      await overlays.emptied();
      database.close();
      await rm(state, { recursive: true, force: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address ? address.port : 0;
}

/** A squashfs root of a few files, which every kernel mounts. */
export async function publishSmallImage(images: string, version: string, facts: { readonly dataVolume?: boolean } = {}): Promise<Image> {
  const draft = await mkdtemp(join(tmpdir(), 'cardless-draft-'));
  const tree = join(draft, 'tree');
  for (const folder of ['etc', 'home', 'var/lib']) {
    await mkdir(join(tree, folder), { recursive: true });
  }
  await writeFile(join(tree, 'etc/version'), `${version}\n`);
  await writeFile(join(tree, 'etc/motd'), 'of the image\n');
  const image = join(draft, 'image');
  await mkdir(join(image, 'boot'), { recursive: true });
  await run('mksquashfs', [tree, join(image, 'root.img'), '-noappend', '-no-progress']);
  const identity = { name: parseImageName('small'), arch: 'amd64', kernelVersion: 'test', rootFormat: 'squashfs', ...facts } as const;
  const published = await publishImage(image, identity, images, new Date());
  await rm(draft, { recursive: true, force: true });
  return published;
}

/** A shell script with the disk mounted at $1, in name spaces of its own. */
export async function onDisk(disk: string, script: string): Promise<string> {
  const at = await mkdtemp(join(tmpdir(), 'cardless-at-'));
  const all = `mount -o loop "$2" "$1"; mkdir -p "$1/upper"; cd "$1/upper"\n${script}`;
  const said = await run(...containedCommand('sh', ['-ec', all, 'sh', at, disk]));
  await rm(at, { recursive: true, force: true });
  return said;
}

export interface NbdClient extends AsyncDisposable {
  ask(command: string): Promise<string>;
  /** The next line that nobody has read. */
  next(): Promise<string>;
}

export interface NbdSource {
  readonly address?: Ipv4;
  /** The first free one from here on: one of root's when not given. */
  readonly firstPort?: number;
}

export async function nbdClient(port: number, name: string, source: NbdSource = {}): Promise<NbdClient> {
  const args = ['127.0.0.1', String(port), name, source.address ?? '', String(source.firstPort ?? '')];
  const child = execa('python3', [join(projectRoot, 'test/support/nbd-client.py'), ...args], { reject: false });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => String((await lines.next()).value);
  const first = await next();
  if (first !== 'attached') {
    throw new Error(`nbd: ${first}`);
  }
  return {
    next,
    ask: async (command) => {
      child.stdin.write(`${command}\n`);
      return await next();
    },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await child;
    },
  };
}
