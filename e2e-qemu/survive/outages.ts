/**
 * Outages of the server under guests that write and read all the time. The ten minutes pass beside the others, in a lab of
 * their own: 9 guests of 256 MiB run at once.
 */
import { cp, mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { startLab, type TestLab } from '../../test/support/lab-server.ts';
import { type Evidence, Guest } from '../../test/support/survive/guest.ts';
import { allWrite, frozen, nbdAway, setLink } from '../../test/support/survive/outage.ts';
import { useImages } from '../../test/support/survive/test-image.ts';
import { images } from './images.ts';

const guestCount = 8;

function say(text: string): void {
  process.stdout.write(`survive: ${text}\n`);
}

async function bootAll(lab: TestLab, count: number): Promise<Guest[]> {
  await useImages(lab, images());
  const guests: Guest[] = [];
  for (let index = 1; index <= count; index++) {
    guests.push(await Guest.create({ lab, index }));
  }
  await Promise.all(guests.map((guest) => guest.boot()));
  await Promise.all(guests.map((guest) => guest.startLoad()));
  await allWrite(guests);
  return guests;
}

/** Ends the load, checks everything that was written, switches the guests off, and looks at their disks. */
async function conclude(guests: readonly Guest[]): Promise<Evidence[]> {
  const evidence = await Promise.all(guests.map((guest) => guest.stopLoad()));
  for (const { name, written, lines, passes } of evidence) {
    expect(passes).toBeGreaterThan(1);
    say(`${name}: ${written} lines called written, ${lines} there, none missing; ${passes} files and ${passes} reads of the root compared`);
  }
  await Promise.all(guests.map((guest) => guest.shutDown()));
  for (const guest of guests) {
    const { said, ...checked } = await guest.check();
    expect(checked, said).toEqual({ clean: true, needsRecovery: false });
  }
  say(`${guests.length} guests: no I/O error, journals closed, e2fsck -fn finds nothing`);
  return evidence;
}

async function another(lab: TestLab): Promise<string> {
  const checkout = join(lab.state, 'checkout');
  await mkdir(checkout);
  for (const name of ['src', 'rootfs', 'boot-assets', 'package.json']) {
    await cp(join(projectRoot, name), join(checkout, name), { recursive: true });
  }
  await symlink(join(projectRoot, 'node_modules'), join(checkout, 'node_modules'));
  return checkout;
}

describe.concurrent('guests that write and read all the time', () => {
  test('nbd-server is away for ten minutes', async () => {
    await using lab = await startLab('long');
    const guests = await bootAll(lab, 1);
    await nbdAway(lab, 600);
    await allWrite(guests);
    say('nbd-server away for 600 s: written on');
    await conclude(guests);
  });

  test('eight guests: nbd-server killed, the server stopped and replaced, frozen, links cut', async () => {
    await using lab = await startLab('outages');
    const guests = await bootAll(lab, guestCount);
    for (const seconds of [20, 120]) {
      await nbdAway(lab, seconds);
      await allWrite(guests);
      say(`nbd-server killed and away for ${seconds} s: all ${guestCount} write on`);
    }
    await lab.server.stop();
    await lab.server.start();
    await allWrite(guests);
    say('the server stopped and started: all write on');

    await lab.server.stop();
    await lab.server.start(await another(lab));
    await allWrite(guests);
    say('the server replaced by one from another checkout: all write on');

    const cut = guests.slice(0, guestCount / 2);
    await frozen(lab, async () => {
      await setLink(lab, cut, 'down');
      await sleep(60_000);
    });
    await setLink(lab, cut, 'up');
    await allWrite(guests);
    say(`all processes of the server frozen for 60 s, and ${cut.length} links cut meanwhile: all write on`);
    await conclude(guests);
  });
});
