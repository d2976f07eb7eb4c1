import { readFile } from 'node:fs/promises';

/** Random, and another one after each start of the machine (random(4)). */
export async function machineBootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}
