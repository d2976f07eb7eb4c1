/** The C program that floods a server (flood.c), built by the first test that wants it. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { z } from 'zod';
import { projectRoot } from '#src/config/places.ts';
import { run } from '#src/process/run.ts';
import { insideNamespace } from '#src/sim/lab.ts';

export const Flooded = z.object({
  packets: z.number(),
  seconds: z.number(),
  /** Honest exchanges, all of them complete. */
  served: z.number(),
  retries: z.number(),
  /** Of the server, at the start and after every tenth. */
  residentKib: z.array(z.number()),
});
export type Flooded = z.infer<typeof Flooded>;

export interface FloodOptions {
  readonly namespace: string;
  readonly kind: 'dhcp' | 'tftp' | 'hostile';
  readonly server: string;
  readonly seed: number;
  readonly packets: number;
  /** Packets between two honest exchanges. */
  readonly every: number;
  readonly serverPid: number;
  readonly corpus: readonly Buffer[];
  /** Of the honest client: MAC and address, or file name and local file with what it holds. */
  readonly honest: readonly [string, string];
}

let building: Promise<string> | undefined;

async function build(): Promise<string> {
  const program = join(await mkdtemp(join(tmpdir(), 'cardless-flood-')), 'flood');
  await run('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', program, join(projectRoot, 'test/support/flood.c')]);
  return program;
}

/** @throws Error with what it said, when the honest client was not served */
export async function flood(options: FloodOptions): Promise<Flooded> {
  building ??= build();
  const corpus = join(await mkdtemp(join(tmpdir(), 'cardless-corpus-')), 'corpus');
  await writeFile(corpus, `${options.corpus.map((packet) => packet.toString('hex')).join('\n')}\n`);
  const { kind, server, seed, packets, every, serverPid } = options;
  const args = [kind, server, ...[seed, packets, every, serverPid].map(String), corpus, ...options.honest];
  const done = await execa(...toMutable(insideNamespace(options.namespace, await building, args)), { stdin: 'ignore', timeout: 280_000 });
  return Flooded.parse(JSON.parse(done.stdout));
}

function toMutable([file, args]: readonly [string, readonly string[]]): [string, readonly string[]] {
  return [file, args];
}
