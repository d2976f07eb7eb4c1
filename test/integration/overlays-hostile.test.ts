/** Root on a node writes what it likes to its disk; whatever that is, this machine's own files are left alone. */
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import type { Image } from '#src/domain/image.ts';
import { parseRootPath } from '#src/domain/overlay.ts';
import { type CarryOptions, carryPaths } from '#src/overlays/carry.ts';
import { run } from '#src/process/run.ts';
import { onDisk, openHouse, publishSmallImage, red5 } from '../support/disk-house.ts';

async function openCarry() {
  const house = await openHouse();
  const images = join(house.state, 'images');
  const sideOf = async (version: string): Promise<CarryOptions['from']> => {
    const { digest }: Image = await publishSmallImage(images, version);
    await house.overlays.reset(red5, digest);
    return { root: { file: join(images, digest, 'root.img'), format: 'squashfs' }, disk: house.overlays.pathOf(red5, digest) };
  };
  const [from, to] = [await sideOf('one'), await sideOf('two')];
  const work = join(house.state, 'carry');
  await mkdir(work);
  const carry = () => carryPaths({ from, to, paths: [parseRootPath('etc/motd')], work });
  return { state: house.state, from: from.disk, to: to.disk, carry, [Symbol.asyncDispose]: () => house[Symbol.asyncDispose]() };
}

test('a link in the place of a folder of either disk is refused, and what it leads to is as it was', async () => {
  await using stage = await openCarry();
  const { from, to } = stage;
  const victim = join(stage.state, 'victim');
  await mkdir(join(victim, 'etc'), { recursive: true, mode: 0o700 });
  await writeFile(join(victim, 'etc/motd'), 'the server');
  for (const [disk, name] of [
    [from, 'upper'],
    [to, 'upper'],
    [to, 'work'],
  ] as const) {
    await onDisk(disk, `cd ..; mkdir -p ${name}; mv ${name} kept; ln -s ${victim} ${name}`);
    await expect(stage.carry()).rejects.toMatchObject({ code: 'bad-input', message: `/${name} of the overlay is not a folder` });
    await onDisk(disk, `cd ..; rm ${name}; mv kept ${name}`);
  }
  expect([(await stat(victim)).mode & 0o777, await readdir(victim)]).toEqual([0o700, ['etc']]);
  expect(await readFile(join(victim, 'etc/motd'), 'utf8')).toBe('the server');
  await onDisk(from, 'mkdir etc; echo of the node >etc/motd');
  await stage.carry();
  expect(await onDisk(to, 'cat etc/motd')).toBe('of the node');
});

test('disks that ask for a panic of the kernel on errors are mounted without it', async () => {
  await using stage = await openCarry();
  for (const disk of [stage.from, stage.to]) {
    await run('tune2fs', ['-e', 'panic', disk]);
  }
  await onDisk(stage.from, 'mkdir etc; echo of the node >etc/motd');
  // The carry's mounts are nowhere to be seen but in its own name space, which this `mount` is in.
  const [programs, seen] = [join(stage.state, 'programs'), join(stage.state, 'mounts-seen')];
  await mkdir(programs);
  await writeFile(join(programs, 'mount'), `#!/bin/sh\nPATH=\${PATH#*:} mount "$@" && cat /proc/mounts >${seen}\n`, { mode: 0o755 });
  vi.stubEnv('PATH', `${programs}:${process.env['PATH']}`);
  try {
    await stage.carry();
  } finally {
    vi.unstubAllEnvs();
  }
  const lines = (await readFile(seen, 'utf8')).split('\n');
  const optionsAt = (place: string) =>
    lines
      .find((text) => text.includes(` ${stage.state}/carry/${place} ext4 `))
      ?.split(' ')[3]
      ?.split(',');
  expect(optionsAt('old/disk')).toEqual(expect.arrayContaining(['ro', 'errors=continue', 'nodev', 'nosuid', 'noexec']));
  expect(optionsAt('new/disk')).toEqual(expect.arrayContaining(['rw', 'errors=remount-ro', 'nodev', 'nosuid', 'noexec']));
});
