/** What the server does with a disk of which root on a node wrote every byte. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { checkDisk } from '#src/overlays/check-disk.ts';
import { run } from '#src/process/run.ts';
import { withJournalElsewhere, withJournalThatNamesDevice, withSharedBlock } from '../support/bad-disks.ts';
import { type DiskHouse, nbdClient, openHouse, publishSmallImage, red5, red6 } from '../support/disk-house.ts';

async function houseWith(spoil: (disk: string) => Promise<void>): Promise<{ house: DiskHouse; disk: string }> {
  const house = await openHouse();
  const image = await publishSmallImage(join(house.state, 'images'), 'one');
  house.add(red5);
  house.add(red6);
  await house.boot(red5, image);
  const disk = house.overlays.pathOf(red5, image.digest);
  await spoil(disk);
  return { house, disk };
}

describe.each([
  ['shares blocks, and says that it is clean', withSharedBlock, /[Mm]ultiply-claimed/],
  ['names another device as its journal', withJournalElsewhere, /its journal is on another device/],
  ['names one in what its journal brings back', withJournalThatNamesDevice, /its mount options name a journal on another device/],
])('a disk that %s', (_what, spoil, reason) => {
  test('is neither kept, copied nor mounted, and the error names node and remedy', async () => {
    const { house } = await houseWith(spoil);
    await using _house = house;
    const { ended, service } = house;
    for (const start of [
      () => service.snapshot('red5', {}),
      () => service.clone('red5', { to: 'red6' }),
      () => service.mount('red5', {}),
    ]) {
      await expect(ended(start())).rejects.toMatchObject({
        message: expect.stringMatching(reason),
        hint: expect.stringContaining('cardless overlay reset red5'),
      });
    }
    expect(JSON.stringify(await service.list('red[5-6]'))).toMatch(/"snapshots":\[\]/);
    expect(await readFile('/proc/mounts', 'utf8')).not.toContain(house.state);
  });
});

test.each([
  ['its journal', withJournalElsewhere],
  ['what its journal brings back', withJournalThatNamesDevice],
])('a node whose disk names another device in %s does not boot with it, and is told so', async (_where, spoil) => {
  const { house } = await houseWith(spoil);
  await using _house = house;
  const [image] = await house.images.list();
  const { plan, session } = image ? await house.boot(red5, image) : { plan: '', session: () => undefined };
  expect(plan).toMatch(/PLAN_REFUSAL=.*overlay of red5 is damaged: .*another device.*cardless overlay reset red5/);
  expect(session()?.events.find(({ what }) => what === 'overlay checked')?.detail).toMatch(/another device/);
  await expect(nbdClient(house.port, 'overlay')).rejects.toThrow();
});

test('a disk that this machine has mounted is left alone', async () => {
  const { house, disk } = await houseWith(() => Promise.resolve());
  await using _house = house;
  const at = join(house.state, 'at');
  await mkdir(at);
  await run('mount', ['-o', 'loop', disk, at]);
  try {
    await writeFile(join(at, 'mended'), 'by hand');
    expect(await checkDisk(disk)).toEqual({
      ok: false,
      result: expect.stringMatching(/^this machine has it as \/dev\/loop\d+; unmount it/),
    });
  } finally {
    await run('umount', [at]);
  }
  await vi.waitFor(async () => expect(await checkDisk(disk)).toMatchObject({ ok: true }));
});

test('what could not be checked is neither called clean nor damaged', async () => {
  const { house, disk } = await houseWith(() => Promise.resolve());
  await using _house = house;
  const programs = join(house.state, 'programs');
  await mkdir(programs);
  // As in a container without the right to mount.
  await writeFile(join(programs, 'unshare'), '#!/bin/sh\necho "unshare: unshare failed: Operation not permitted" >&2\nexit 1\n', {
    mode: 0o755,
  });
  vi.stubEnv('PATH', `${programs}:${process.env['PATH']}`);
  try {
    await expect(checkDisk(disk)).rejects.toThrow(/could not be checked: .*Operation not permitted/s);
  } finally {
    vi.unstubAllEnvs();
  }
});

test('e2fsck sees no device of this machine', async () => {
  const { house, disk } = await houseWith(() => Promise.resolve());
  await using _house = house;
  const [programs, seen] = [join(house.state, 'programs'), join(house.state, 'seen')];
  await mkdir(programs);
  await writeFile(join(programs, 'e2fsck'), `#!/bin/sh\nls -R /dev >${seen}\nexec /sbin/e2fsck "$@"\n`, { mode: 0o755 });
  vi.stubEnv('PATH', `${programs}:${process.env['PATH']}`);
  try {
    expect(await checkDisk(disk, { full: true })).toEqual({ ok: true, result: 'clean' });
  } finally {
    vi.unstubAllEnvs();
  }
  expect(await readFile(seen, 'utf8')).toBe('/dev:\nnull\n');
  expect(await run('stat', ['-c', '%F', '/dev/null'])).toBe('character special file');
});
