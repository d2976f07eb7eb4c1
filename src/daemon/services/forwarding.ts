/**
 * Which interfaces forward packets. What was there before is on record before it is changed, so that it can be put back after a
 * crash as well; the machine's own restart puts it back by itself.
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { machineBootId } from '../../process/boot-id.ts';

const Record = z.object({ bootId: z.string(), before: z.record(z.string(), z.string()) });
type Record = z.infer<typeof Record>;

export function forwardingFile(interfaceName: string): string {
  return `/proc/sys/net/ipv4/conf/${interfaceName}/forwarding`;
}

/** Undefined when there is no such interface. */
export async function forwardingOf(interfaceName: string): Promise<string | undefined> {
  return (await readFile(forwardingFile(interfaceName), 'utf8').catch(() => undefined))?.trim();
}

export class Forwarding {
  readonly #directory: string;
  readonly #file: string;
  /** What was written there before us. */
  #before: Record['before'] = {};
  /** The kernel's number of each interface that was opened: a stick that is plugged in again is closed as it was at first. */
  readonly #opened = new Map<string, string>();

  constructor(directory: string) {
    this.#directory = directory;
    this.#file = join(directory, 'gateway.json');
  }

  /** Files that we wrote to. */
  get opened(): readonly string[] {
    return Object.entries(this.#before).flatMap(([name, value]) => (value === '1' ? [] : [forwardingFile(name)]));
  }

  async isLeft(): Promise<boolean> {
    return (await this.#read()) !== undefined;
  }

  /** Whether it forwards only for us. */
  async isOurs(interfaceName: string): Promise<boolean> {
    return (this.#before[interfaceName] ?? (await forwardingOf(interfaceName))) !== '1' && !(await isRouter());
  }

  /** One of them came, or came again, since it was opened. What others did to it since is left alone. */
  async isStale(names: readonly string[]): Promise<boolean> {
    const numbers = await Promise.all(names.map(numberOf));
    return names.some((name, index) => numbers[index] !== '' && numbers[index] !== this.#opened.get(name));
  }

  async remember(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const now = await forwardingOf(name);
      if (now !== undefined) {
        this.#before[name] ??= now;
      }
    }
    const record: Record = { bootId: await machineBootId(), before: this.#before };
    await mkdir(this.#directory, { recursive: true });
    await writeFile(`${this.#file}.new`, JSON.stringify(record));
    await rename(`${this.#file}.new`, this.#file);
  }

  /** Those that {@link remember} knows; all others that we had opened are closed again. */
  async open(names: readonly string[]): Promise<void> {
    for (const [name, before] of Object.entries(this.#before)) {
      await setForwarding(name, names.includes(name) ? '1' : before);
    }
    for (const name of names) {
      this.#opened.set(name, await numberOf(name));
    }
  }

  /** As it was, also by the record of an earlier run. */
  async close(): Promise<void> {
    const record = await this.#read();
    for (const [name, before] of Object.entries(record?.before ?? this.#before)) {
      await setForwarding(name, before);
    }
  }

  async forget(): Promise<void> {
    this.#before = {};
    this.#opened.clear();
    await rm(this.#file, { force: true });
  }

  /** Of this start of the machine. */
  async #read(): Promise<Record | undefined> {
    const text = await readFile(this.#file, 'utf8').catch(() => undefined);
    const record = text === undefined ? undefined : Record.parse(JSON.parse(text));
    return record?.bootId === (await machineBootId()) ? record : undefined;
  }
}

async function setForwarding(name: string, value: string): Promise<void> {
  const now = await forwardingOf(name);
  // Somebody has made a router of the whole machine meanwhile: that is not for us to undo.
  const isKept = value !== '1' && (await isRouter());
  // An interface that is gone has nothing to put back.
  if (now !== undefined && now !== value && !isKept) {
    await writeFile(forwardingFile(name), value);
  }
}

/** All interfaces forward, those that come later too. */
async function isRouter(): Promise<boolean> {
  return (await forwardingOf('all')) === '1';
}

/** Empty when there is none of this name. */
async function numberOf(name: string): Promise<string> {
  return (await readFile(`/sys/class/net/${name}/ifindex`, 'utf8').catch(() => '')).trim();
}
