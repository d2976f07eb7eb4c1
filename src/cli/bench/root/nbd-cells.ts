/** NBD alone: how much of the link a read of the whole root gets, and what 200 connected nodes cost the server. */
import { mkdir, readdir, rm, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { projectRoot } from '../../../config/places.ts';
import { UserError } from '../../../domain/errors.ts';
import { type Ipv4, ipv4FromNumber, ipv4ToNumber } from '../../../domain/ipv4.ts';
import { run } from '../../../process/run.ts';
import { startChild } from '../../../process/supervise.ts';
import { insideNamespace } from '../../../sim/lab.ts';
import { median, rounded } from '../figures.ts';
import type { BenchProgress } from '../progress.ts';
import type { RootArena } from './root-arena.ts';
import type { LinkName, ManyClients, ThroughputRow } from './root-figures.ts';
import { benchClient, firstOfManyClients } from './root-network.ts';

const nbdPort = '10809';
const rawPort = '10808';
/** At 100 Mbit/s a round takes a minute, and the link is all that is seen. */
const roundsOn: Readonly<Record<LinkName, number>> = { '1gbit': 3, '100mbit': 1 };
const graceMs = 3000;
const holdTimeoutMs = 60_000;

/** What a node's kernel asks for: read-ahead of 128 KiB, one request or several under way. */
const requestKiB = 128;
const depths = [1, 4] as const;

const LoadResult = z.object({ bytes: z.number(), seconds: z.number() });
type LoadResult = z.infer<typeof LoadResult>;

export interface NbdCells {
  readonly arena: RootArena;
  readonly progress: BenchProgress;
  readonly signal: AbortSignal;
}

export class NbdBench {
  readonly #options: NbdCells;
  readonly #program: string;

  private constructor(options: NbdCells, program: string) {
    this.#options = options;
    this.#program = program;
  }

  static async build(options: NbdCells): Promise<NbdBench> {
    const program = join(options.arena.directory, 'nbd-load');
    const source = join(projectRoot, 'bench/nbd-load.c');
    await run('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-std=gnu17', '-o', program, source], { signal: options.signal });
    return new NbdBench(options, program);
  }

  /** All in turn, so that what else this machine does falls on all of them. */
  async throughput(link: LinkName): Promise<ThroughputRow[]> {
    const { arena, progress } = this.#options;
    await arena.ourNetwork.shape(link);
    await this.#link([benchClient]);
    const { size } = await stat(join(arena.ours.image, 'root.img'));
    const nbd = new Map<number, number[]>(depths.map((depth) => [depth, []]));
    const raw: number[] = [];
    for (let round = 1; round <= roundsOn[link]; round += 1) {
      progress.show(`reading the root over NBD, ${link}, round ${round}`);
      for (const [depth, rates] of nbd) {
        rates.push(rate(await this.#load('read', [arena.ours.segment.server, nbdPort, 'root', `${depth}`, `${requestKiB * 1024}`])));
      }
      raw.push(rate(await this.#raw(size)));
    }
    const plain = median(raw);
    return [...nbd].map(([depth, rates]) => {
      const ours = median(rates);
      const figures = { nbdMegabytesPerSecond: rounded(ours), rawMegabytesPerSecond: rounded(plain), ratio: rounded(ours / plain) };
      return { link, requestKiB, depth, ...figures };
    });
  }

  async manyClients(count: number): Promise<ManyClients> {
    const { arena, progress, signal } = this.#options;
    progress.show(`${count} NBD clients`);
    const first = ipv4ToNumber(firstOfManyClients);
    await this.#link(Array.from({ length: count }, (_, index) => ipv4FromNumber(first + index)));
    const before = await arena.ours.memoryBytes();
    const lines: string[] = [];
    const words = ['hold', arena.ours.segment.server, nbdPort, 'root', firstOfManyClients, `${count}`];
    const [file, args] = arena.ourNetwork.lab.inside(this.#program, words);
    await using child = startChild(file, args, { graceMs, onLine: (line) => lines.push(line) });
    let hasEnded = false;
    void child.ended.then(() => {
      hasEnded = true;
    });
    const deadline = Date.now() + holdTimeoutMs;
    while (!lines.some((line) => line.startsWith('{'))) {
      if (hasEnded || signal.aborted || Date.now() > deadline) {
        throw new UserError(signal.aborted ? 'cancelled' : 'failed', `${count} NBD clients did not connect: ${lines.join(' ')}`);
      }
      await sleep(50);
    }
    const { seconds } = LoadResult.parse(JSON.parse(lines.find((line) => line.startsWith('{')) ?? ''));
    const used = (await arena.ours.memoryBytes()) - before;
    return {
      clients: count,
      serverMemoryMiBPerClient: rounded(used / count / 2 ** 20),
      serverMemoryMiBBefore: rounded(before / 2 ** 20),
      secondsToConnect: rounded(seconds),
    };
  }

  /** As the server does when a node boots, with one root for all. */
  async #link(addresses: readonly Ipv4[]): Promise<void> {
    const { ours } = this.#options.arena;
    const directory = join(ours.exports, 'root');
    await mkdir(directory, { recursive: true });
    const there = new Set(await readdir(directory));
    for (const address of addresses.filter((one) => !there.has(one))) {
      await rm(join(directory, address), { force: true });
      await symlink(join(ours.image, 'root.img'), join(directory, address));
    }
  }

  async #load(mode: string, args: readonly string[]): Promise<LoadResult> {
    const { arena, signal } = this.#options;
    const said = await run(...arena.ourNetwork.lab.inside(this.#program, [mode, ...args]), { signal });
    return LoadResult.parse(JSON.parse(said));
  }

  async #raw(bytes: number): Promise<LoadResult> {
    const { segment } = this.#options.arena.ours;
    const [file, args] = insideNamespace(segment.namespace, this.#program, ['source', segment.server, rawPort, `${bytes}`]);
    await using _source = startChild(file, args, { graceMs });
    for (let tries = 0; ; tries += 1) {
      try {
        return await this.#load('sink', [segment.server, rawPort]);
      } catch (error) {
        // It does not listen yet.
        if (tries >= 40 || !(error instanceof UserError) || error.code === 'cancelled') {
          throw error;
        }
        await sleep(50);
      }
    }
  }
}

function rate({ bytes, seconds }: LoadResult): number {
  return bytes / seconds / 1e6;
}
