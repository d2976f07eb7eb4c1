import { copyFile, mkdir, open, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { StoreWatch } from '#src/daemon/store-watch.ts';
import { systemClock } from '#src/daemon/system-clock.ts';
import { UserError } from '#src/domain/errors.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { parseRootPath, parseSnapshotLabel } from '#src/domain/overlay.ts';
import { checkDisk } from '#src/overlays/check-disk.ts';
import { OverlayDisks } from '#src/overlays/overlay-disks.ts';
import { StoreSpace } from '#src/overlays/store-space.ts';
import { containedCommand, run } from '#src/process/run.ts';
import { holdDisk } from '#src/servers/nbd/fence.ts';
import { diskBytes, type HouseOptions, nbdClient, onDisk, openHouse, publishSmallImage, red5, red6 } from '../support/disk-house.ts';
import { until } from '../support/lab-server.ts';

const uuidOf = async (disk: string): Promise<string> => await run('blkid', ['-p', '-s', 'UUID', '-o', 'value', disk]);

async function readText(file: string, offset: number): Promise<string> {
  const handle = await open(file, 'r');
  const { buffer } = await handle.read(Buffer.alloc(512), 0, 512, offset);
  await handle.close();
  return buffer.toString('latin1').replaceAll('\0', '');
}

describe('a snapshot', () => {
  test('of a disk that is written to is of one instant, and its node only waits', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    await house.boot(red5, image);
    const disk = house.overlays.pathOf(red5, image.digest);
    await onDisk(disk, 'head -c 120000000 /dev/urandom >filler; echo kept >note');
    // Free blocks of the file system, so that what is written there is no damage to it.
    const [low, high] = [100 * 4096, diskBytes - 8192];
    await using client = await nbdClient(house.port, 'overlay');
    expect(await client.ask(`pairs ${low} ${high}`)).toBe('started');
    await until(async () => Number(await readText(disk, high)) > 0, 'the first pair');
    for (const label of ['one', 'two', 'three']) {
      const [done] = await house.ended(house.service.snapshot('red5', { as: label }));
      expect(done).toMatchObject({ node: 'red5', label, copied: { kind: 'crash-consistent', reason: 'no agent of the node listens' } });
      const file = house.overlays.snapshotPathOf(red5, image.digest, parseSnapshotLabel(label));
      const [first, second] = [Number(await readText(file, low)), Number(await readText(file, high))];
      expect(first).toBeGreaterThan(0);
      expect(first - second).toBeGreaterThanOrEqual(0);
      expect(first - second).toBeLessThanOrEqual(1);
    }
    const before = Number(await readText(disk, high));
    await until(async () => Number(await readText(disk, high)) > before, 'the writer to go on');
  });

  test('of a node that runs, like a clone and a view of it, is taken while its agent holds the disk still, and says so', async () => {
    const asked: string[] = [];
    let isHeld = false;
    const freeze: HouseOptions['freeze'] = async (node, work) => {
      asked.push(node);
      // What the node had in its memory until now.
      await onDisk(house.overlays.pathOf(red5, image.digest), `echo ${asked.length} >flushed`);
      isHeld = true;
      await work();
      isHeld = false;
      return { frozenMs: 7 };
    };
    await using house = await openHouse({ freeze });
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    house.add(red6);
    await house.boot(red5, image);
    const { ended, service, overlays } = house;
    const copied = { kind: 'frozen', frozenMs: 7 };
    await using _client = await nbdClient(house.port, 'overlay');
    expect(await ended(service.snapshot('red5', { as: 'good' }))).toMatchObject([{ label: 'good', copied }]);
    expect(await onDisk(overlays.snapshotPathOf(red5, image.digest, parseSnapshotLabel('good')), 'cat flushed')).toBe('1');
    expect(await ended(service.clone('red5', { to: 'red6' }))).toMatchObject([{ node: 'red6', copied }]);
    expect(await onDisk(overlays.pathOf(red6, image.digest), 'cat flushed')).toBe('2');
    const [view] = await ended(service.mount('red5', {}));
    try {
      expect(view).toMatchObject({ node: 'red5', copied });
      expect(await readFile(join(String(view?.['directory']), 'flushed'), 'utf8')).toBe('3\n');
    } finally {
      await service.unmount('red5');
    }
    expect([asked, isHeld]).toEqual([['red5', 'red5', 'red5'], false]);
    // Of another version than the node runs there is nobody to ask.
    const other = await publishSmallImage(join(house.state, 'images'), 'two');
    await overlays.reset(red5, other.digest);
    expect(await ended(service.snapshot('red5', { version: other.digest }))).toMatchObject([{ copied: { kind: 'unused' } }]);
    expect(asked).toHaveLength(3);
  });

  test('of a node that boots, with nobody on the disk yet, is no more than crash-consistent', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    await house.boot(red5, image, 'running');
    expect(await house.ended(house.service.snapshot('red5', {}))).toMatchObject([
      { copied: { kind: 'crash-consistent', reason: 'the node boots, or is not connected again yet' } },
    ]);
  });

  test('is restored at the next boot of a node that runs, at once otherwise', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    await house.boot(red5, image);
    const disk = house.overlays.pathOf(red5, image.digest);
    await onDisk(disk, 'echo first >note');
    const [kept] = await house.ended(house.service.snapshot('red5', { as: 'good' }));
    expect(kept).toMatchObject({ copied: { kind: 'unused' } });
    await onDisk(disk, 'echo second >note');
    {
      await using client = await nbdClient(house.port, 'overlay');
      expect(await house.ended(house.service.restore('red5', { label: 'good' }))).toMatchObject([{ when: 'next boot' }]);
      expect(await onDisk(disk, 'cat note')).toBe('second');
      // The node starts again without its old connection having ended.
      const { session } = await house.boot(red5, image);
      expect(await client.ask('flush')).toBe('closed');
      const news = session()?.events.map(({ what, detail }) => `${what}: ${detail}`);
      expect(news).toContain('overlay restored: good');
      expect(news).toContain('overlay checked: clean');
    }
    expect(await onDisk(disk, 'cat note')).toBe('first');
    await onDisk(disk, 'echo third >note');
    const before = await uuidOf(disk);
    await until(
      async () => (await house.service.list('red5').then((listing) => JSON.stringify(listing))).includes('"inUse":false'),
      'nobody to use it',
    );
    expect(await house.ended(house.service.restore('red5', { label: 'good' }))).toMatchObject([{ when: 'now' }]);
    expect(await onDisk(disk, 'cat note')).toBe('first');
    // Else a client that connects again would take it for the disk that it had.
    expect(await uuidOf(disk)).not.toBe(before);
  });

  test('of nothing, or of an unknown label, is refused with what there is', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    const { ended, service } = house;
    await expect(ended(service.snapshot('red5', {}))).rejects.toThrow('red5 has no overlay');
    await expect(ended(service.restore('red5', { label: 'x' }))).rejects.toThrow('red5 has no overlay');
    await house.boot(red5, image);
    await ended(service.snapshot('red5', { as: 'a' }));
    await ended(service.snapshot('red5', { as: 'b' }));
    await expect(ended(service.snapshot('red5', { as: 'a' }))).rejects.toThrow('has a snapshot "a" already');
    await expect(ended(service.restore('red5', { label: 'c' }))).rejects.toMatchObject({ code: 'not-found', hint: 'It has: a, b' });
    await expect(ended(service.snapshot('red5', { version: 'ffff' }))).rejects.toThrow('no overlay of version ffff');
    expect(() => service.restore('red5', { label: '../x' })).toThrow('not a label');
    expect(() => service.snapshot('red9', {})).toThrow('There is no node "red9"');
    await service.remove('red5', { snapshot: 'a', force: false });
    await expect(ended(service.restore('red5', { label: 'a' }))).rejects.toMatchObject({ hint: 'It has: b' });
  });
});

describe('a job that is cancelled', () => {
  /** red5 with a snapshot, red6 and red7 without a disk; whatever is started next is cancelled when it asks for room. */
  async function house(options: HouseOptions = {}) {
    const opened = await openHouse(options);
    const image = await publishSmallImage(join(opened.state, 'images'), 'one');
    for (const name of [red5, red6, parseNodeName('red7')]) {
      opened.add(name);
    }
    await opened.boot(red5, image);
    await opened.ended(opened.service.snapshot('red5', { as: 'good' }));
    const files = async (): Promise<string[]> =>
      (await readdir(opened.overlays.directory, { recursive: true })).filter((name) => !name.startsWith('.trash') && /[@/]/.test(name));
    const cancelled = async (start: () => object, whenToCancel: (cancel: () => void) => void): Promise<void> => {
      let id = '';
      whenToCancel(() => void opened.jobs.cancel(id));
      ({ id } = start() as { id: string });
      await opened.ended({ id }).catch(() => {});
      expect(opened.jobs.get(id).state).toBe('cancelled');
    };
    return { ...opened, image, files, cancelled };
  }
  type House = Awaited<ReturnType<typeof house>>;

  test.each<[string, (service: House['service']) => object]>([
    ['a snapshot', (service) => service.snapshot('red5', { as: 'new' })],
    ['a restore', (service) => service.restore('red5', { label: 'good' })],
    ['a clone', (service) => service.clone('red5', { to: 'red[6-7]' })],
    ['a view', (service) => service.mount('red5', {})],
    ['a view of a snapshot', (service) => service.mount('red5', { snapshot: 'good' })],
  ])('%s leaves everything as it was', async (_name, start) => {
    await using opened = await house();
    const { service, space, files, cancelled, state } = opened;
    const before = await files();
    await cancelled(
      () => start(service),
      (cancel) => void vi.spyOn(space, 'require').mockImplementation(() => Promise.resolve(cancel())),
    );
    expect(await files()).toEqual(before);
    expect(await readdir(join(state, 'mounts')).catch(() => [])).toEqual([]);
  });

  test('ends its copy while the node holds still, and lets it go', async () => {
    const ends: string[] = [];
    let cancelNow = (): void => {};
    const freeze: HouseOptions['freeze'] = async (_node, work) => {
      cancelNow();
      await work().catch((error: unknown) => {
        ends.push(error instanceof UserError ? error.code : 'another error');
        throw error;
      });
      return { frozenMs: 1 };
    };
    await using opened = await house({ freeze });
    await using _client = await nbdClient(opened.port, 'overlay');
    await opened.cancelled(
      () => opened.service.snapshot('red5', { as: 'new' }),
      (cancel) => {
        cancelNow = cancel;
      },
    );
    expect(ends).toEqual(['cancelled']);
    expect((await opened.files()).filter((name) => /new|partial/.test(name))).toEqual([]);
  });

  test('a clone keeps what the nodes before have, and begins no other', async () => {
    await using opened = await house();
    const { overlays, service, cancelled } = opened;
    const clone = overlays.clone.bind(overlays);
    const asked = vi.spyOn(overlays, 'clone');
    await cancelled(
      () => service.clone('red5', { to: 'red[6-7]' }),
      (cancel) =>
        void asked.mockImplementation(async (...wanted) => {
          await clone(...wanted);
          cancel();
        }),
    );
    expect(asked.mock.calls.map(([, to]) => to)).toEqual(['red6']);
    expect(await overlays.exists(red6, opened.image.digest)).toBe(true);
    expect((await opened.files()).filter((name) => name.includes('partial'))).toEqual([]);
  });
});

describe('a clone', () => {
  test('to several nodes is begun only when there is room for all of them', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    for (const name of [red5, red6, parseNodeName('red7')]) {
      house.add(name);
    }
    await house.boot(red5, image);
    const [overlay] = await house.overlays.list(red5);
    const usedBytes = overlay?.usedBytes ?? 0;
    const now = await house.space.now();
    const sharesBlocks = vi.spyOn(house.overlays, 'sharesBlocks').mockResolvedValue(false);
    vi.spyOn(house.space, 'now').mockResolvedValue({ ...now, freeBytes: 2.5 * usedBytes });
    // Two, and the one that they are made from.
    const clone = (): Promise<object> => house.ended(house.service.clone('red5', { to: 'red[6-7]' }));
    await expect(clone()).rejects.toMatchObject({ code: 'no-space', message: expect.stringContaining('2 clones of red5') });
    expect(await house.overlays.exists(red6, image.digest)).toBe(false);
    sharesBlocks.mockResolvedValue(true);
    expect(await clone()).toMatchObject([{ node: 'red6' }, { node: 'red7' }]);
  });

  test('has the state and an identity of its own', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    house.add(red6);
    await house.boot(red5, image);
    const source = house.overlays.pathOf(red5, image.digest);
    await onDisk(source, 'echo mine >note');
    expect(await house.ended(house.service.clone('red5', { to: 'red6' }))).toMatchObject([{ node: 'red6', when: 'now' }]);
    const copy = house.overlays.pathOf(red6, image.digest);
    expect(await onDisk(copy, 'cat note')).toBe('mine');
    expect(await uuidOf(copy)).not.toBe(await uuidOf(source));
    expect(await readdir(house.overlays.directoryOf(red5))).toEqual([`${image.digest}.img`]);
  });

  test('to itself, to another version or to an ephemeral node is refused', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    house.add(red6, { overlay: 'ephemeral' });
    await house.boot(red5, image);
    expect(() => house.service.clone('red5', { to: 'red[5-6]' })).toThrow('cannot be cloned to itself');
    await expect(house.ended(house.service.clone('red5', { to: 'red6' }))).rejects.toThrow('ephemeral');
    house.nodes.set(red6, { overlay: 'persistent' });
    await publishSmallImage(join(house.state, 'images'), 'two');
    await expect(house.ended(house.service.clone('red5', { to: 'red6' }))).rejects.toThrow(
      /red6 boots small \(version .*state is of small/,
    );
  });
});

describe('before a boot', () => {
  test('whoever is still on the disk is cut off, and what a power cut left is repaired', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    await house.boot(red5, image);
    const disk = house.overlays.pathOf(red5, image.digest);
    // A copy of a disk that is mounted is a disk after a power cut.
    await onDisk(disk, `echo before >note; sync; cp --sparse=always ${disk} ${disk}.cut`);
    await copyFile(`${disk}.cut`, disk);
    await using client = await nbdClient(house.port, 'overlay');
    const { session, plan } = await house.boot(red5, image);
    expect(await client.ask('flush')).toBe('closed');
    expect(session()?.events.find(({ what }) => what === 'overlay checked')?.detail).toMatch(/^journal replayed/);
    expect(plan).toContain("PLAN_OVERLAY='persistent'\nPLAN_OVERLAY_SIZE='40%'\nPLAN_DATA='no'\n");
    expect(await onDisk(disk, 'cat note')).toBe('before');
  });

  test('a disk that cannot be repaired is told, and not mounted', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    await house.boot(red5, image);
    await house.ended(house.service.snapshot('red5', { as: 'good' }));
    const disk = house.overlays.pathOf(red5, image.digest);
    await run('debugfs', ['-w', '-R', 'clri <2>', disk]);
    await run('debugfs', ['-w', '-R', 'ssv state 2', disk]);
    const { session, plan } = await house.boot(red5, image);
    expect(plan).toMatch(
      /^PLAN_NODE='red5'\nPLAN_TIME='\d+'\nPLAN_REFUSAL='The overlay of red5 is damaged: .*overlay reset red5.*restore red5 LABEL an earlier state'\n$/,
    );
    expect(session()?.events.find(({ what }) => what === 'overlay checked')?.detail).toMatch(/INCONSISTENCY|[Rr]oot inode/);
    expect(await readdir(join(house.state, 'exports/overlay'))).toEqual([]);
    await house.ended(house.service.restore('red5', { label: 'good' }));
    expect((await house.boot(red5, image)).plan).toContain('PLAN_OVERLAY=');
  });

  test('a data volume is made, kept through reimages, grown, and never another node’s', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one', { dataVolume: true });
    house.add(red5);
    house.add(red6, { dataBytes: 0 });
    expect((await house.boot(red5, image)).plan).toContain("PLAN_DATA='yes'");
    const volume = house.data.pathOf(red5);
    await onDisk(volume, 'echo precious >note');
    house.nodes.update(red5, { reimage: true });
    house.nodes.set(red5, { dataBytes: 2 * diskBytes });
    const { session } = await house.boot(red5, image);
    expect(session()?.events.map(({ what }) => what)).toEqual(
      expect.arrayContaining(['overlay made', 'data volume checked', 'data volume grown']),
    );
    expect((await house.data.of(red5))?.virtualBytes).toBe(2 * diskBytes);
    expect(await onDisk(volume, 'cat note; df -P . | tail -1')).toMatch(/^precious\n\/dev\/loop\d+ +4\d{5} /);
    // Another node at the same address.
    const link = join(house.state, 'exports/data/127.0.0.1');
    expect(await readlink(link)).toBe(volume);
    expect((await house.boot(red6, image)).plan).toContain("PLAN_DATA='no'");
    await expect(readlink(link)).rejects.toThrow('ENOENT');
    await expect(nbdClient(house.port, 'data')).rejects.toThrow();
    await house.exports.place(parseIpv4('127.0.0.9'), { root: '/x', data: volume, directories: house.disks.directoriesOf(red5) });
    await house.exports.withdraw(house.disks.directoriesOf(red5));
    expect(await readdir(join(house.state, 'exports/data'))).toEqual([]);
  });
});

describe('versions', () => {
  test('each has an overlay of its own, and named paths are carried over with all that belongs to them', async () => {
    await using house = await openHouse();
    const images = join(house.state, 'images');
    const one = await publishSmallImage(images, 'one');
    house.add(red5);
    await house.boot(red5, one);
    await onDisk(
      house.overlays.pathOf(red5, one.digest),
      `mkdir -p home/ann etc
       echo text >home/ann/file; ln home/ann/file home/ann/again; chown -R 1000:1000 home/ann; chmod 4750 home/ann/file
       touch -d @1000000000 home/ann/file; python3 -c "import os; os.setxattr('home/ann/file', 'user.colour', b'red')"; ln -s /nowhere home/ann/link
       echo mine >etc/motd; ln -s /etc etc/away; mkdir left; echo x >left/behind`,
    );
    const two = await publishSmallImage(images, 'two');
    await house.service.carry('red5', { paths: ['/home/ann', 'etc/motd'] });
    const { session } = await house.boot(red5, two);
    expect(session()?.events.find(({ what }) => what === 'carried over')?.detail).toBe(
      `/home/ann /etc/motd from ${one.digest.slice(0, 12)}`,
    );
    expect(house.nodes.get(red5)?.carry).toBeUndefined();
    const found = await onDisk(
      house.overlays.pathOf(red5, two.digest),
      `stat -c '%n %u:%g %a %h %Y' home/ann/file; python3 -c "import os; print(os.getxattr('home/ann/again', 'user.colour').decode())"
       readlink home/ann/link; cat etc/motd; ls; ls etc`,
    );
    expect(found.split('\n')).toEqual(['home/ann/file 1000:1000 4750 2 1000000000', 'red', '/nowhere', 'mine', 'etc', 'home', 'motd']);
    // Back to the first one, which is as it was left.
    await house.boot(red5, one);
    expect(await onDisk(house.overlays.pathOf(red5, one.digest), 'cat left/behind')).toBe('x');
    // A link could lead into the server's own files.
    for (const [path, message] of [
      ['etc/away/shadow', 'is a symbolic link'],
      ['etc/nothing', 'There is no /etc/nothing'],
    ] as const) {
      house.nodes.update(red5, { carry: { from: one.digest, paths: [parseRootPath(path)] } });
      const boot = await house.boot(red5, two);
      expect(boot.plan).toContain('PLAN_OVERLAY=');
      expect(boot.session()?.events.find(({ what }) => what === 'carried over')?.detail).toContain(message);
    }
    expect(await onDisk(house.overlays.pathOf(red5, two.digest), 'ls etc')).toBe('motd');
    // What is wished for while a boot carries is for the next one.
    const later = { from: one.digest, paths: [parseRootPath('left')] };
    house.nodes.update(red5, { carry: { from: one.digest, paths: [parseRootPath('etc/motd')] } });
    const wishOnce = (what: string): void => {
      if (what === 'overlay checked') {
        house.nodes.update(red5, { carry: later });
      }
    };
    await house.disks.prepare(house.nodes.require(red5), two, wishOnce);
    expect(house.nodes.get(red5)?.carry).toEqual(later);
  });
});

describe('space', () => {
  test('what is over the quota, or would use up the reserve, is refused', async () => {
    await using house = await openHouse({ quotaBytes: 150e6 });
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    await house.boot(red5, image);
    await onDisk(house.overlays.pathOf(red5, image.digest), 'head -c 80000000 /dev/urandom >filler');
    await expect(house.ended(house.service.snapshot('red5', {}))).rejects.toMatchObject({
      code: 'no-space',
      message: expect.stringContaining('of the 150000000 bytes'),
    });
    const { freeBytes } = await house.space.now();
    const tight = new StoreSpace([house.state], freeBytes - 2 ** 30);
    await tight.require(2 ** 20, 'little');
    await expect(tight.require(2 ** 31, 'an overlay of red5')).rejects.toThrow(/^No space for an overlay of red5: it takes 2148 MB/);
    expect((await new StoreSpace([house.state], freeBytes + 2 ** 32).now()).level).toBe('low');
  });

  test('with a full store nodes wait instead of getting errors, and go on when there is space; roots are served on', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    await house.boot(red5, image);
    await using writer = await nbdClient(house.port, 'overlay');
    await using reader = await nbdClient(house.port, 'root');
    let reserve = 0;
    const space = { now: () => new StoreSpace([house.state], reserve).now() } as StoreSpace;
    const directories = [house.overlays.directory, house.data.directory];
    await using watch = new StoreWatch({ space, directories, fences: house.fences, clock: systemClock, log: house.log });
    await watch.start();
    expect(await writer.ask('write 409600 one')).toBe('ok');
    reserve = 2 ** 60;
    const isPaused = async (): Promise<boolean> => {
      const answer = writer.ask('write 409600 two');
      const first = await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 300, 'waits'))]);
      pending = answer;
      return first === 'waits';
    };
    let pending: Promise<string> | undefined;
    await until(isPaused, 'the writer to be stopped');
    expect(await reader.ask('read 0 4')).toBe('hsqs');
    await expect(nbdClient(house.port, 'overlay'), 'a new connection').rejects.toThrow('nbd: refused');
    {
      await using _held = await holdDisk(house.fences, house.overlays.pathOf(red5, image.digest));
      reserve = 0;
      await until(async () => !(await readdir(house.fences.records)).includes('full'), 'the store to have space');
    }
    expect(await pending).toBe('ok');
    expect(await writer.ask('read 409600 512')).toBe('two');
  });
});

describe('disks', () => {
  test('reset, resize and delete: at once when nobody uses them, staged or refused otherwise', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    await house.boot(red5, image);
    const disk = house.overlays.pathOf(red5, image.digest);
    await onDisk(disk, 'echo old >note');
    {
      await using _client = await nbdClient(house.port, 'overlay');
      expect(await house.service.reset('red5', {})).toMatchObject([{ when: 'next boot' }]);
      expect(await house.ended(house.service.resize('red5', { size: '512M' }))).toMatchObject([{ when: 'next boot' }]);
      await expect(house.service.remove('red5', { force: false })).rejects.toMatchObject({ code: 'in-use' });
    }
    const { session } = await house.boot(red5, image);
    expect((await stat(disk)).size).toBe(512 * 2 ** 20);
    expect(session()?.events.map(({ what, detail }) => `${what}: ${detail}`)).toContain('overlay restored: fresh');
    expect(await onDisk(disk, 'ls')).toBe('');
    await expect(house.ended(house.service.resize('red5', { size: '256M' }))).rejects.toThrow('cannot be made smaller');
    await onDisk(disk, 'echo stays >note');
    expect(await house.ended(house.service.resize('red5', { size: '1G' }))).toMatchObject([{ when: 'now' }]);
    expect(await onDisk(disk, 'cat note')).toBe('stays');
    expect((await checkDisk(disk)).result).toBe('clean');
    expect((await stat(disk)).size).toBe(2 ** 30);
    // It has its plan and is not on its disk yet.
    await house.boot(red5, image, 'running');
    expect(await house.service.reset('red5', {})).toMatchObject([{ when: 'next boot' }]);
    await house.boot(red5, image);
    await onDisk(disk, 'echo more >note');
    expect(await house.service.reset('red5', {})).toMatchObject([{ when: 'now' }]);
    expect(await onDisk(disk, 'ls')).toBe('');
    await house.service.remove('red5', { force: false });
    expect(await readdir(house.overlays.directoryOf(red5))).toEqual([]);
    await expect(house.service.remove('red5', { force: false })).rejects.toThrow('red5 has no overlay');
  });

  test('a node that cannot be reset keeps no other from it', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    house.add(red6);
    house.add(parseNodeName('red7'));
    await house.boot(red6, image);
    await house.boot(parseNodeName('red7'), image);
    const { promise, resolve } = Promise.withResolvers<void>();
    const busy = house.disks.inTurn(red6, () => promise);
    const done = await house.service.reset('red[5-7]', {});
    resolve();
    await busy;
    expect(done).toMatchObject([
      { node: 'red5', reason: 'red5 has no overlay', hint: expect.stringContaining('first boot') },
      { node: 'red6', reason: expect.stringContaining('red6 is busy') },
      { node: 'red7', when: 'now' },
    ]);
  });

  test('a reset, and a restore, are of one version and leave the others as they are', async () => {
    await using house = await openHouse();
    const images = join(house.state, 'images');
    const one = await publishSmallImage(images, 'one');
    house.add(red5);
    await house.boot(red5, one);
    await onDisk(house.overlays.pathOf(red5, one.digest), 'echo first >note');
    await house.ended(house.service.snapshot('red5', { as: 'good' }));
    const two = await publishSmallImage(images, 'two');
    await house.boot(red5, two);
    const second = house.overlays.pathOf(red5, two.digest);
    await onDisk(second, 'echo second >note');
    const [v1, v2] = [one.digest.slice(0, 12), two.digest.slice(0, 12)];
    {
      await using _client = await nbdClient(house.port, 'overlay');
      expect(await house.service.reset('red5', { version: v2 })).toMatchObject([{ when: 'next boot' }]);
      expect(await onDisk(second, 'cat note')).toBe('second');
      // The other version boots next, and is not what was meant.
      await house.boot(red5, one);
    }
    expect(await onDisk(house.overlays.pathOf(red5, one.digest), 'cat note')).toBe('first');
    // It has its plan for the one, so the other one may be touched at once; what was staged goes with it.
    await house.boot(red5, one, 'running');
    expect(await house.service.reset('red5', { version: v1 })).toMatchObject([{ when: 'next boot' }]);
    expect(await house.service.reset('red5', { version: v2 })).toMatchObject([{ when: 'now' }]);
    expect(await onDisk(second, 'ls')).toBe('');
    // A fresh disk is wished for the version that boots next, which is the second.
    house.nodes.update(red5, { reimage: true });
    await house.ended(house.service.restore('red5', { label: 'good', version: v1 }));
    expect(house.nodes.get(red5)?.reimage).toBe(true);
    await house.ended(house.service.snapshot('red5', { as: 'good', version: v2 }));
    await house.ended(house.service.restore('red5', { label: 'good', version: v2 }));
    expect(house.nodes.get(red5)?.reimage).toBe(false);
    expect((await house.overlays.list(red5)).map(({ digest, staged }) => `${digest} ${staged}`).toSorted()).toEqual(
      [`${one.digest} good`, `${two.digest} undefined`].toSorted(),
    );
  });

  test('behind links are in use all the same', async () => {
    await using house = await openHouse({ linked: true });
    const image = await publishSmallImage(join(house.state, 'images'), 'one', { dataVolume: true });
    house.add(red5);
    await house.boot(red5, image);
    {
      await using _client = await nbdClient(house.port, 'overlay');
      expect(await house.service.reset('red5', {})).toMatchObject([{ when: 'next boot' }]);
      await expect(house.service.remove('red5', { force: false })).rejects.toMatchObject({ code: 'in-use' });
      expect(JSON.stringify(await house.service.list('red5'))).toContain('"inUse":true');
    }
    await using _client = await nbdClient(house.port, 'data');
    await expect(house.admin.remove('red5', { withData: true, dryRun: false })).rejects.toMatchObject({ code: 'in-use' });
  });

  test('that are removed tell the nodes on them to restart; one that boots, or comes back after a restart of the server, is on its disk', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    await house.boot(red5, image, 'running');
    const refused = { code: 'in-use', message: 'red5 runs on that overlay' };
    await expect(house.service.remove('red5', { force: false })).rejects.toMatchObject(refused);
    house.sessions.change(red5, { outcome: 'ready' });
    const again = async (): Promise<string> => {
      await using client = await nbdClient(house.port, 'overlay');
      return (await client.ask('read 0 15')).slice(0, 15);
    };
    {
      await using client = await nbdClient(house.port, 'overlay');
      await house.service.remove('red5', { force: true });
      expect(await client.ask('flush')).toBe('closed');
    }
    expect(await again()).toBe('CARDLESS REBOOT');
    await house.boot(red5, image);
    expect(await again()).not.toBe('CARDLESS REBOOT');
    house.exports.startServing(systemClock);
    await expect(house.service.remove('red5', { force: false })).rejects.toMatchObject(refused);
    expect(await house.service.reset('red5', {})).toMatchObject([{ when: 'next boot' }]);
    await house.admin.remove('red5', { withData: false, dryRun: false });
    expect(await again()).toBe('CARDLESS REBOOT');
  });

  test('that cannot grow do not keep their node from booting', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one', { dataVolume: true });
    house.add(red5);
    await house.boot(red5, image);
    house.nodes.set(red5, { overlayBytes: 2 * diskBytes, dataBytes: 2 * diskBytes });
    const asked = vi
      .spyOn(house.space, 'require')
      .mockImplementation((_bytes, what) =>
        what.startsWith('growing') ? Promise.reject(new UserError('no-space', what)) : Promise.resolve(),
      );
    const { session, plan } = await house.boot(red5, image);
    expect(plan).toContain("PLAN_OVERLAY='persistent'");
    expect(session()?.events.map(({ what, detail }) => `${what}: ${detail}`)).toEqual(
      expect.arrayContaining(['overlay not grown: growing the overlay of red5', 'data volume not grown: growing the data volume of red5']),
    );
    const disk = house.overlays.pathOf(red5, image.digest);
    expect((await stat(disk)).size).toBe(diskBytes);
    await expect(house.ended(house.service.resize('red5', { size: '1G' }))).rejects.toMatchObject({ code: 'no-space' });
    asked.mockRestore();
    await house.boot(red5, image);
    expect((await stat(disk)).size).toBe(2 ** 30);
  });

  test('two things at once with one node: the second is refused, a boot waits', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    house.add(red5);
    await house.boot(red5, image);
    await onDisk(house.overlays.pathOf(red5, image.digest), 'head -c 60000000 /dev/urandom >filler');
    const first = house.service.snapshot('red5', { as: 'a' });
    const second = house.service.snapshot('red5', { as: 'b' });
    const boot = house.boot(red5, image);
    await expect(house.ended(second)).rejects.toThrow('red5 is busy: snapshot is under way');
    await expect(house.admin.remove('red5', { withData: false, dryRun: false })).rejects.toThrow('red5 is busy: snapshot is under way');
    expect(await house.ended(first)).toMatchObject([{ label: 'a' }]);
    expect((await boot).plan).toContain('PLAN_OVERLAY=');
  });

  test('what a crash left half-made or half-deleted is gone after a start', async () => {
    await using house = await openHouse();
    const directory = join(house.state, 'overlays');
    await mkdir(join(directory, 'red5'), { recursive: true });
    await mkdir(join(directory, '.trash/1-1-red6'), { recursive: true });
    const digest = 'a'.repeat(64);
    for (const name of [
      `red5/${digest}.img.partial`,
      `red5/${digest}@x.img.partial`,
      `red5/${digest}.img`,
      '.trash/1-1-red6/x.img',
      '.trash/1-2-y.img',
    ]) {
      await writeFile(join(directory, name), 'x');
    }
    const disks = new OverlayDisks({ directory, bytes: diskBytes });
    await disks.start();
    await disks.emptied();
    expect((await readdir(directory, { recursive: true })).toSorted()).toEqual(['.trash', 'red5', `red5/${digest}.img`]);
  });

  test('200 overlays of 8 GiB are reset', async () => {
    await using house = await openHouse();
    const image = await publishSmallImage(join(house.state, 'images'), 'one');
    const names = Array.from({ length: 200 }, (_, index) => `n${String(index + 1).padStart(3, '0')}`);
    const bytes = 8 * 2 ** 30;
    for (const name of names) {
      house.add(parseNodeName(name), { overlayBytes: bytes });
    }
    await Promise.all(names.map((name) => house.overlays.reset(parseNodeName(name), image.digest, { bytes })));
    const n200 = parseNodeName('n200');
    const before = await uuidOf(house.overlays.pathOf(n200, image.digest));
    const from = performance.now();
    expect(await house.service.reset('n[001-200]', {})).toHaveLength(200);
    process.stdout.write(`200 overlays of 8 GiB reset in ${((performance.now() - from) / 1000).toFixed(1)} s\n`);
    const last = house.overlays.pathOf(n200, image.digest);
    expect(await uuidOf(last)).not.toBe(before);
    expect((await checkDisk(last)).result).toBe('clean');
    expect((await stat(last)).blocks * 512).toBeLessThan(2 ** 20);
  });
});

test('what a carry or a look at a disk mounts is gone when it ends', async () => {
  const mounts = async (): Promise<string> => await run('cat', ['/proc/self/mountinfo']);
  const before = await mounts();
  await run(...containedCommand('sh', ['-c', 'mount -t tmpfs x /mnt']));
  expect(await mounts()).toBe(before);
});
