/**
 * Two ways in which an old write can follow a newer one after a reconnect, with nobody noticing; each with its remedy and, to
 * show that the test sees it, without. The kernel gives up on a connection after 10 s here: with the attacher's own settings
 * it takes a stuck disk of the server and a lost link at once.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { signalProcess } from '#src/process/signal.ts';
import { labBridge } from '#src/sim/lab.ts';
import { serverLog, startLab, type TestLab, until } from '../../test/support/lab-server.ts';
import { stopProcesses } from '../../test/support/stopped.ts';
import { generation, generationAfter, onDisk, startGenerations, stopGenerations } from '../../test/support/survive/generation.ts';
import { Guest } from '../../test/support/survive/guest.ts';
import { overlayHolders, setLink } from '../../test/support/survive/outage.ts';
import { useImages } from '../../test/support/survive/test-image.ts';
import { images } from './images.ts';

function say(text: string): void {
  process.stdout.write(`survive: ${text}\n`);
}

/** nbd-server as it would be without our script. */
async function takeFenceAway(lab: TestLab): Promise<void> {
  const directory = join(lab.state, 'run', labBridge);
  const config = join(directory, 'nbd-server.conf');
  const text = await readFile(config, 'utf8');
  await writeFile(config, text.replaceAll(/^prerun.*\n/gm, ''));
  signalProcess(Number(await readFile(join(directory, 'nbd-server.pid'), 'utf8')), 'SIGKILL');
  await until(async () => (await serverLog(lab.server)).split('nbd-server serves').length === 3, 'nbd-server without prerun');
}

/** The server's process is stuck with a request while the node goes on with a new connection. */
async function stuckServer(lab: TestLab, guest: Guest): Promise<Outcome> {
  await startGenerations(guest);
  const stuck = await overlayHolders(lab, guest);
  expect(stuck).toHaveLength(1);
  let last: number;
  {
    using _stuck = stopProcesses(stuck);
    await generationAfter(guest, (await generation(guest)) + 5);
    last = await stopGenerations(guest);
  }
  await sleep(3000);
  return { last, found: await onDisk(guest) };
}

interface Outcome {
  readonly last: number;
  readonly found: number;
}

/** A request waits in the old connection's send queue while the link is cut, and is sent again when all seems well. */
async function lateRetransmission(lab: TestLab, guests: readonly Guest[], cutMs: number): Promise<Outcome[]> {
  await Promise.all(guests.map(startGenerations));
  await setLink(lab, guests, 'down');
  await sleep(cutMs);
  await setLink(lab, guests, 'up');
  const last = await Promise.all(
    guests.map(async (guest) => {
      await generationAfter(guest, (await generation(guest)) + 5);
      return await stopGenerations(guest);
    }),
  );
  // Its retransmission timer has doubled to about as long as the link was cut.
  await sleep(60_000);
  return await Promise.all(guests.map(async (guest, index) => ({ last: last[index] ?? 0, found: await onDisk(guest) })));
}

/**
 * The timer begins with the round trips of a busy machine, so it may fire just when the link is back, before anything newer
 * was written. Another length of the cut ends elsewhere between two of its firings.
 */
async function lateUntilSeen(lab: TestLab, forgets: Guest, aborts: Guest): Promise<{ bad: Outcome; good: Outcome }> {
  let outcome: { bad: Outcome; good: Outcome } | undefined;
  for (const cutMs of [30_000, 42_000, 24_000]) {
    const [bad = { last: 0, found: 0 }, good = { last: 0, found: 0 }] = await lateRetransmission(lab, [forgets, aborts], cutMs);
    say(`cut for ${cutMs / 1000} s, old connection left alone: wrote ${bad.last}, the disk has ${bad.found}`);
    say(`cut for ${cutMs / 1000} s, old connection aborted: wrote ${good.last}, the disk has ${good.found}`);
    outcome = { bad, good };
    if (bad.found < bad.last || good.found !== good.last) {
      break;
    }
  }
  if (!outcome) {
    throw new Error('nothing was tried');
  }
  return outcome;
}

describe.concurrent('an old write never follows a newer one', () => {
  test('without the remedies both happen; an aborted connection alone prevents the late retransmission', async () => {
    await using lab = await startLab('hazards');
    await useImages(lab, images());
    await takeFenceAway(lab);
    await using unfenced = await Guest.create({ lab, index: 1, image: 'impatient' });
    await using aborts = await Guest.create({ lab, index: 2, image: 'aborts' });
    await using forgets = await Guest.create({ lab, index: 3, image: 'forgets' });
    await Promise.all([unfenced, aborts, forgets].map((guest) => guest.boot()));
    const [stuck, { bad, good }] = await Promise.all([stuckServer(lab, unfenced), lateUntilSeen(lab, forgets, aborts)]);
    say(`stuck server, no fence: wrote ${stuck.last}, the disk has ${stuck.found}`);
    expect(stuck.found).toBeLessThan(stuck.last);
    expect(bad.found).toBeLessThan(bad.last);
    expect(good.found).toBe(good.last);
  });

  test('with the fence a stuck server process ends before the node goes on', async () => {
    await using lab = await startLab('fenced');
    await useImages(lab, images());
    await using guest = await Guest.create({ lab, index: 1, image: 'impatient' });
    await guest.boot();
    const { last, found } = await stuckServer(lab, guest);
    say(`stuck server, fenced: wrote ${last}, the disk has ${found}`);
    expect(found).toBe(last);
  });
});
