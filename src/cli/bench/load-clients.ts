/** The load clients in C: built here, run where the clients are, their one line of JSON read. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { projectRoot } from '../../config/places.ts';
import { run } from '../../process/run.ts';
import type { BenchNetwork, Segment } from './bench-network.ts';
import { preferred } from './contender.ts';
import type { TftpCell, Weather } from './figures.ts';

const TftpReport = z.object({
  seconds: z.number(),
  bytes: z.number(),
  completed: z.number(),
  failed: z.number(),
  unfinished: z.number(),
  fastestSeconds: z.number(),
  slowestSeconds: z.number(),
  blockP50Us: z.number(),
  blockP99Us: z.number(),
  resends: z.number(),
  duplicates: z.number(),
  mismatches: z.number(),
  blksize: z.number(),
  windowsize: z.number(),
  clientCpuSeconds: z.number(),
  error: z.string(),
});
export type TftpReport = z.infer<typeof TftpReport>;

const DhcpReport = z.object({
  seconds: z.number(),
  begun: z.number(),
  offered: z.number(),
  completed: z.number(),
  late: z.number(),
  refused: z.number(),
  resends: z.number(),
  offerP50Us: z.number(),
  offerP99Us: z.number(),
  clientCpuSeconds: z.number(),
});
export type DhcpReport = z.infer<typeof DhcpReport>;

export interface TftpLoad extends TftpCell, Partial<Weather> {
  readonly file: string;
  /** Fetch again and again for so long; without it, once, within `limitSeconds`. */
  readonly seconds?: number;
  readonly limitSeconds?: number;
  readonly seed?: number;
  /** The file on this machine, to compare what comes with. */
  readonly expect?: string;
}

export interface DhcpLoad {
  readonly clients: number;
  /** Exchanges a second for `seconds`; without it, one exchange for each client. */
  readonly rate?: number;
  readonly seconds?: number;
  readonly limitSeconds?: number;
  readonly pxe?: boolean;
}

/** Hardware address of client 0; the others count on from it. */
const firstMac = '52:54:00:10:00:00';
const firstMacTail = 0x10_00_00;

export function clientMac(index: number): string {
  const tail = (firstMacTail + index).toString(16).padStart(6, '0');
  return `52:54:00:${tail.slice(0, 2)}:${tail.slice(2, 4)}:${tail.slice(4)}`;
}

export class LoadClients {
  readonly #directory: string;
  readonly #network: BenchNetwork;
  readonly #signal: AbortSignal;

  private constructor(directory: string, network: BenchNetwork, signal: AbortSignal) {
    this.#directory = directory;
    this.#network = network;
    this.#signal = signal;
  }

  static async build(directory: string, network: BenchNetwork, signal: AbortSignal): Promise<LoadClients> {
    await mkdir(directory, { recursive: true });
    for (const name of ['tftp-load', 'dhcp-load']) {
      const source = join(projectRoot, 'bench', `${name}.c`);
      await run('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-std=gnu17', '-o', join(directory, name), source], { signal });
    }
    return new LoadClients(directory, network, signal);
  }

  async tftp(segment: Segment, load: TftpLoad): Promise<TftpReport> {
    const args = flags({
      server: segment.server,
      device: segment.clientInterface,
      first: segment.firstClient,
      clients: load.clients,
      blksize: load.blksize,
      windowsize: load.windowsize,
      file: load.file,
      seconds: load.seconds,
      limit: load.limitSeconds,
      loss: load.loss,
      dup: load.dup,
      reorder: load.reorder,
      seed: load.seed,
      expect: load.expect,
    });
    return TftpReport.parse(JSON.parse(await this.#run('tftp-load', args)));
  }

  async dhcp(segment: Segment, load: DhcpLoad): Promise<DhcpReport> {
    const args = flags({
      server: segment.server,
      address: segment.relay,
      mac: firstMac,
      clients: load.clients,
      rate: load.rate,
      seconds: load.seconds,
      limit: load.limitSeconds,
    });
    const words = [...args, ...(load.rate === undefined ? ['--once'] : []), ...(load.pxe ? ['--pxe'] : [])];
    return DhcpReport.parse(JSON.parse(await this.#run('dhcp-load', words)));
  }

  async #run(name: string, args: readonly string[]): Promise<string> {
    const [file, words] = preferred(this.#network.atClients(join(this.#directory, name), args));
    // A session of its own, as servers have: preference goes by session.
    return await run('setsid', [file, ...words], { signal: this.#signal });
  }
}

function flags(values: Readonly<Record<string, string | number | undefined>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, `${value}`]));
}
