/** Root on a node writes what it likes to its disk; whatever that is, this machine's own files are left alone. */
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Image } from '#src/domain/image.ts';
import { parseRootPath } from '#src/domain/overlay.ts';
import { type CarryOptions, carryPaths } from '#src/overlays/carry.ts';
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
