import { mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findPlaces, projectRoot } from '#src/config/places.ts';
import { AgentOrders } from '#src/daemon/agent-orders.ts';
import { BootSessions } from '#src/daemon/boot-sessions.ts';
import { createCommitService } from '#src/daemon/commit-service.ts';
import { DiskCopies } from '#src/daemon/disk-copies.ts';
import { Exports } from '#src/daemon/exports.ts';
import { JobSpace } from '#src/daemon/job-space.ts';
import { type Job, Jobs } from '#src/daemon/jobs.ts';
import { systemClock } from '#src/daemon/system-clock.ts';
import { messageOf } from '#src/domain/errors.ts';
import { parseImageDigest } from '#src/domain/image.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { ImageCatalog } from '#src/images/catalog.ts';
import { ensureNodePrograms } from '#src/images/node-programs.ts';
import { publishImage } from '#src/images/publish.ts';
import { copyAtRest } from '#src/overlays/copy-at-rest.ts';
import { OverlayDisks } from '#src/overlays/overlay-disks.ts';
import { StoreSpace } from '#src/overlays/store-space.ts';
import { Turns } from '#src/overlays/turns.ts';
import { run } from '#src/process/run.ts';
import { ImageCommit } from '#src/servers/http/admin/commit-routes.ts';
import { holdDisk } from '#src/servers/nbd/fence.ts';
import { openDatabase } from '#src/store/database.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { SessionStore } from '#src/store/sessions.ts';
import { withJournalElsewhere, withSharedBlock } from '../support/bad-disks.ts';
import { manifestOf, prepareStage, type Stage } from '../support/commit-stage.ts';
import { cardless, ran, until } from '../support/lab-server.ts';
import { nodeRecord } from '../support/nodes.ts';

const red5 = parseNodeName('red5');
const env = { CARDLESS_CACHE: findPlaces({ env: process.env }).cache };
let stage: Stage;
let kernelStage: Stage;
let newKernel: string;

beforeAll(async () => {
  await ensureNodePrograms({ cache: env.CARDLESS_CACHE, arch: 'amd64', signal: new AbortController().signal });
  stage = await prepareStage('erofs');
  newKernel = '6.9.0-new-amd64';
  kernelStage = await prepareStage('squashfs', async (root) => {
    const modules = join(root, 'usr/lib/modules', newKernel);
    await mkdir(modules);
    await mkdir(join(root, 'boot'));
    for (const name of ['modules.dep', 'modules.builtin', 'modules.builtin.modinfo', 'modules.order']) {
      await writeFile(join(modules, name), '');
    }
    await writeFile(join(root, 'boot', `vmlinuz-${newKernel}`), 'new kernel');
  });
});
afterAll(async () => {
  await Promise.all([stage, kernelStage].map(({ folder }) => rm(folder, { recursive: true, force: true })));
});

function start({ folder, image }: Stage, { reserveBytes = 0 }: { readonly reserveBytes?: number } = {}) {
  const places = findPlaces({ state: folder, env });
  const database = openDatabase(places.database);
  const log = pino({ level: 'silent' });
  const nodes = new NodeStore(database);
  if (!nodes.get(red5)) {
    nodes.add([
      nodeRecord('red5', { image: image.name, serial: parseSerial('00000005') }),
      nodeRecord('red6', { image: image.name, serial: parseSerial('00000006') }),
      nodeRecord('red7', { image: image.name, serial: parseSerial('00000007'), overlay: 'ephemeral' }),
      nodeRecord('red8', { image: image.name, serial: parseSerial('00000008') }),
    ]);
  }
  const sessions = new BootSessions(new SessionStore(database), systemClock, log);
  for (const name of ['red5', 'red8']) {
    sessions.open({ node: parseNodeName(name), arch: 'amd64', client: 'ipxe', digest: image.digest });
  }
  const jobs = new Jobs(systemClock, log);
  const images = new ImageCatalog(places.images);
  const overlays = new OverlayDisks({ directory: places.overlays, bytes: 64 * 2 ** 20 });
  const agents = new AgentOrders(sessions, systemClock);
  const turns = new Turns();
  const whileHeld: string[] = [];
  const hold = async (disk: string): Promise<AsyncDisposable> => {
    const held = await holdDisk({ records: folder }, disk);
    whileHeld.push(await turns.take([red5], 'boot', () => Promise.resolve('free')).catch(messageOf));
    return held;
  };
  const exports = new Exports(places.exports);
  const copies = new DiskCopies({ overlays, sessions, exports, agents, hold, clock: systemClock });
  const space = new StoreSpace([places.overlays], reserveBytes);
  const room = new JobSpace({ space, folder: places.state, clock: systemClock });
  const service = createCommitService({ places, nodes, sessions, images, overlays, jobs, copies, turns, space, room, clock: systemClock });
  const commit = async (request: object): Promise<Job> => (await service.commit(ImageCommit.parse({ node: 'red5', ...request }))) as Job;
  const ended = async (job: Job): Promise<Job> => {
    await until(() => Promise.resolve(jobs.get(job.id).state !== 'running'), 'the job to end', 60_000);
    return jobs.get(job.id);
  };
  const close = (): void => {
    sessions.close();
    database.close();
  };
  return { places, images, jobs, turns, whileHeld, commit, ended, close };
}

async function expectNothingLeft(folder: string): Promise<void> {
  expect(await readFile('/proc/mounts', 'utf8')).not.toContain(folder);
  await until(async () => !(await execa('losetup', ['-a'])).stdout.includes(folder), 'the loop devices to end');
}

describe('what cannot be committed', () => {
  test.each<[string, object, RegExp, RegExp]>([
    ['a node that is not there', { node: 'red9' }, /There is no node "red9"/, /node list/],
    ['a node that never booted', { node: 'red6' }, /red6 has never booted/, /^$/],
    ['an ephemeral node', { node: 'red7' }, /in its memory \(ephemeral\)/, /node set red7 --overlay persistent/],
    ['a node without an overlay', { node: 'red8' }, /red8 has no overlay of the version/, /Boot it/],
    ['a version without an overlay', { digest: 'abcdef' }, /red5 has no overlay of the version "abcdef"/, /It has those of: [0-9a-f]{12}/],
    ['a path that is none', { paths: ['etc'] }, /"etc" is not a path on the node/, /For example/],
    ['a path that leads out', { exclude: ['/etc/../usr'] }, /is not a path on the node/, /For example/],
    ['a name that is none', { name: 'No Name' }, /"No Name" is not an image name/, /debian-13/],
  ])('%s', async (_name, request, message, hint) => {
    const { commit, close } = start(stage);
    const error = await commit(request).catch((failure: unknown) => failure);
    expect(error).toMatchObject({ name: 'UserError', message: expect.stringMatching(message) });
    expect((error as { hint?: string }).hint ?? '').toMatch(hint);
    close();
  });

  test('two at once of one node; nothing that is left to take; a version that is not the newest', async () => {
    const { commit, ended, images, places, close } = start(stage);
    const first = await commit({ dryRun: true });
    await expect(commit({})).rejects.toMatchObject({ code: 'in-use', message: `Job ${first.id} is committing red5 already` });
    expect(await ended(first)).toMatchObject({ state: 'done', result: { snapshot: { kind: 'unused' } } });
    const nothing = await ended(await commit({ paths: ['/tmp'] }));
    expect(nothing).toMatchObject({ state: 'failed', error: { message: expect.stringMatching(/nothing to commit: all \d+ changes/) } });

    const draft = join(stage.folder, 'draft-2');
    await mkdir(join(draft, 'boot'), { recursive: true });
    await writeFile(join(draft, 'root.img'), 'newer');
    const { name, arch, kernelVersion, rootFormat, digest } = stage.image;
    const newer = await publishImage(draft, { name, arch, kernelVersion, rootFormat }, places.images, new Date());
    await expect(commit({})).rejects.toThrow(`runs the version ${digest.slice(0, 12)} of test, but ${newer.digest.slice(0, 12)} is newer`);
    expect(await ended(await commit({ dryRun: true }))).toMatchObject({ state: 'done' });
    const meant = await ended(await commit({ digest: digest.slice(0, 8), name: 'other', message: 'why' }));
    expect(meant).toMatchObject({ state: 'done', result: { name: 'other', parent: digest } });
    const [made] = await images.list();
    expect(made).toMatchObject({ name: 'other', parent: digest, message: 'why' });
    for (const image of [newer.digest, made?.digest ?? '']) {
      await rm(join(places.images, image), { recursive: true });
    }
    await expectNothingLeft(stage.folder);
    close();
  });
});

test('the disk is copied in a turn of the node and with room for it; the rest leaves the node free', async () => {
  const { commit, ended, jobs, turns, whileHeld, close } = start(stage);
  const other = Promise.withResolvers<void>();
  const boot = turns.take([red5], 'its boot', () => other.promise);
  expect(await ended(await commit({ dryRun: true }))).toMatchObject({
    state: 'failed',
    error: { code: 'in-use', message: 'red5 is busy: its boot is under way' },
  });
  other.resolve();
  await boot;
  const job = await commit({ dryRun: true });
  await until(() => Promise.resolve(jobs.get(job.id).fraction > 0.05), 'the disk to be copied', 30_000);
  expect(jobs.get(job.id).state).toBe('running');
  await turns.take([red5], 'another boot', () => Promise.resolve());
  expect(await ended(job)).toMatchObject({ state: 'done' });
  expect(whileHeld).toEqual(['red5 is busy: commit is under way']);
  close();
  const full = start(stage, { reserveBytes: 2 ** 60 });
  expect(await full.ended(await full.commit({ dryRun: true }))).toMatchObject({ state: 'failed', error: { code: 'no-space' } });
  full.close();
});

test.each([
  ['is damaged where it says of itself that it is clean', withSharedBlock, /[Mm]ultiply-claimed block/],
  ['names another device as its journal', withJournalElsewhere, /its journal is on another device/],
])('a disk that %s is refused with its node and the remedy', async (_what, spoil, reason) => {
  const { commit, ended, images, places, close } = start(stage);
  const kept = join(stage.folder, 'kept.img');
  await run('cp', ['--sparse=always', stage.disk, kept]);
  try {
    await spoil(stage.disk);
    const before = await readFile(stage.disk);
    expect(await ended(await commit({}))).toMatchObject({
      state: 'failed',
      error: {
        message: expect.stringMatching(new RegExp(`The disk of red5 is damaged.*${reason.source}`)),
        hint: expect.stringContaining('cardless overlay reset red5'),
      },
    });
    expect(before.equals(await readFile(stage.disk))).toBe(true);
  } finally {
    await rename(kept, stage.disk);
  }
  expect(await images.list()).toHaveLength(1);
  expect(await readdir(places.work)).toEqual([]);
  close();
});

test('a kernel that was installed on the node is what the new version boots', async () => {
  const { commit, ended, images, close } = start(kernelStage);
  const job = await ended(await commit({}));
  expect(job).toMatchObject({ state: 'done', result: { notes: [`boots the kernel ${newKernel}, which was installed on the node`] } });
  const { digest } = job.result as { digest: string };
  const image = await images.require(parseImageDigest(digest));
  expect(image.kernelVersion).toBe(newKernel);
  expect(await readFile(images.pathOf(image.digest, 'boot/vmlinuz'), 'utf8')).toBe('new kernel');
  expect((await manifestOf(kernelStage, digest)).has(`/usr/lib/modules/${newKernel}/modules.dep`)).toBe(true);
  close();
});

test('cancelled: nothing is left, no mount, no image', async () => {
  const { commit, ended, jobs, images, places, close } = start(stage);
  const job = await commit({});
  await until(
    () => Promise.resolve(jobs.get(job.id).phase === 'packing the root' || jobs.get(job.id).fraction > 0.3),
    'the packing',
    30_000,
  );
  jobs.cancel(job.id);
  expect(await ended(job)).toMatchObject({ state: 'cancelled' });
  expect(await readdir(places.work)).toEqual([]);
  expect(await images.list()).toHaveLength(1);
  await expectNothingLeft(stage.folder);
  close();
});

test('the server killed in the middle: no process, no mount, no image; the next start cleans up', async () => {
  start(stage).close();
  const cli = execa(process.execPath, [join(projectRoot, 'src/main.ts'), '--state', stage.folder, 'image', 'commit', '--from', 'red5'], {
    reject: false,
    stdin: 'ignore',
    env,
  });
  const ours = async (): Promise<string> => (await ran('pgrep', ['-fa', stage.folder])).stdout;
  await until(async () => (await ours()).includes('commit/worker.ts'), 'the commit to be under way', 60_000);
  process.kill(Number.parseInt(await readFile(join(stage.folder, 'lock'), 'utf8'), 10), 'SIGKILL');
  expect((await cli).exitCode).toBe(1);
  await until(async () => (await ours()) === '', `the programs to end: ${await ours()}`);
  await expectNothingLeft(stage.folder);
  const listed = await cardless(['--state', stage.folder, 'image', 'list', '--json'], { env });
  expect(JSON.parse(listed.stdout)).toHaveLength(1);
  expect(await readdir(join(stage.folder, 'work')).catch(() => 'gone')).toBe('gone');
});

describe('a snapshot of a disk that is written to', () => {
  /** Writes one number at both ends of the file, again and again: at any moment the first is the second or one more. */
  const writer = `
    const { openSync, writeSync } = require('node:fs');
    const file = openSync(process.argv[1], 'r+');
    const size = Number(process.argv[2]);
    const number = Buffer.alloc(8);
    for (let count = 1n; ; count += 1n) {
      number.writeBigInt64LE(count);
      writeSync(file, number, 0, 8, 0);
      writeSync(file, number, 0, 8, size - 8);
    }`;

  const hold = (disk: string): Promise<AsyncDisposable> => holdDisk({ records: stage.folder }, disk);

  /** As fence.sh does for a connection: the process, and when it was started (proc(5), field 22). */
  async function record(disk: string, pid: number): Promise<void> {
    const { dev, ino } = await stat(disk);
    const facts = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? [];
    await writeFile(join(stage.folder, `${dev}-${ino}`), `${pid} ${facts[19]}\n`);
  }

  async function withWriter(work: (disk: string, pid: number, ends: (file: string) => Promise<[bigint, bigint]>) => Promise<void>) {
    const disk = join(stage.folder, 'busy.img');
    const bytes = 64 * 2 ** 20;
    await writeFile(disk, Buffer.alloc(bytes, 1));
    const link = join(stage.folder, 'busy-link');
    await rm(link, { force: true });
    await symlink(disk, link);
    const child = execa(process.execPath, ['-e', writer, link, String(bytes)], { reject: false });
    const ends = async (file: string): Promise<[bigint, bigint]> => {
      const content = await readFile(file);
      return [content.readBigInt64LE(0), content.readBigInt64LE(bytes - 8)];
    };
    try {
      const first = BigInt('0x0101010101010101');
      await until(async () => !(await ends(disk)).includes(first), 'the writer');
      await record(disk, child.pid ?? 0);
      await work(disk, child.pid ?? 0, ends);
    } finally {
      child.kill('SIGKILL');
      await child;
    }
  }

  test('is of one moment, and the writer goes on', async () => {
    await withWriter(async (disk, _pid, ends) => {
      const target = join(stage.folder, 'copy.img');
      for (let round = 0; round < 5; round += 1) {
        const freeze = (): Promise<{ reason: string }> => Promise.resolve({ reason: 'not today' });
        const snapshot = await copyAtRest({ disk, target, freeze, hold, signal: new AbortController().signal });
        expect(snapshot).toEqual({ kind: 'crash-consistent', reason: 'not today' });
        const [head, tail] = await ends(target);
        expect(head - tail === 0n || head - tail === 1n, `${head} ${tail}`).toBe(true);
        await until(async () => (await ends(disk))[0] > head, 'the writer to go on');
      }
    });
  });

  test('cancelled: the writer goes on', async () => {
    await withWriter(async (disk, pid, ends) => {
      const abort = new AbortController();
      const target = join(stage.folder, 'copy.img');
      const taking = copyAtRest({ disk, target, hold, signal: abort.signal }).catch((error: unknown) => error);
      await until(async () => /^State:\s+T/m.test(await readFile(`/proc/${pid}/status`, 'utf8')), 'the writer to be stopped');
      abort.abort();
      expect(await taking).toMatchObject({ code: 'cancelled' });
      const [before] = await ends(disk);
      await until(async () => (await ends(disk))[0] > before, 'the writer to go on');
    });
  });
});
