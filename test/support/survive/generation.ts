/** A block that is overwritten again and again with a rising number, past all caches: an old write that comes late is seen. */
import { expect } from 'vitest';
import { until } from '../lab-server.ts';
import type { Guest } from './guest.ts';

const file = '/var/generation';
const patienceMs = 180_000;

export async function startGenerations(guest: Guest): Promise<void> {
  const write = `printf "%-4096s" $n >/run/block; dd if=/run/block of=${file} bs=4096 count=1 oflag=direct conv=notrunc 2>/dev/null`;
  const loop = `n=0; while [ ! -e /run/stop ]; do n=$((n + 1)); ${write} && echo $n >/run/generation; sleep 0.3; done`;
  // Its blocks are there before: else the file system's own writes would hide what happens to them.
  await guest.sh(`rm -f /run/stop /run/generation; dd if=/dev/zero of=${file} bs=4096 count=1 conv=fsync 2>/dev/null; sync`);
  await guest.sh(`(${loop}) >/dev/null 2>&1 </dev/null &`);
  await generationAfter(guest, 3);
}

export async function generation(guest: Guest): Promise<number> {
  return Number(await guest.sh('cat /run/generation'));
}

/** Waits until this one was written. */
export async function generationAfter(guest: Guest, wanted: number): Promise<number> {
  await until(async () => (await generation(guest)) >= wanted, `${guest.name} to write generation ${wanted}`, patienceMs);
  return await generation(guest);
}

/** The last one that was called written, when nothing is written any more. */
export async function stopGenerations(guest: Guest): Promise<number> {
  await guest.sh('touch /run/stop; sleep 2');
  const last = await generation(guest);
  expect(await onDisk(guest)).toBe(last);
  return last;
}

export async function onDisk(guest: Guest): Promise<number> {
  return Number((await guest.sh(`dd if=${file} bs=4096 count=1 iflag=direct 2>/dev/null`)).trim());
}
