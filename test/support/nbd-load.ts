/** The load client in C (bench/nbd-storm.c): many nodes with the attacher's handshake, each from an address of its own. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { z } from 'zod';
import { projectRoot } from '#src/config/places.ts';
import { run } from '#src/process/run.ts';

const Round = z.object({
  clients: z.number(),
  attached: z.number(),
  /** Of all clients together. */
  tries: z.number(),
  medianSeconds: z.number(),
  lastSeconds: z.number(),
});
export type Round = z.infer<typeof Round>;

export interface NbdLoadOptions {
  readonly port: number;
  readonly exportName: string;
  readonly clients: number;
  readonly limitSeconds: number;
  /** 0 when not given. */
  readonly firstClient?: number;
}

export interface NbdLoad extends AsyncDisposable {
  /** The outcome of the round that is under way; the first one begins at the start. */
  round(): Promise<Round>;
  /** All clients drop their connections and connect anew, in one instant. */
  again(): void;
}

/** The nth client's. */
export function addressOf(client: number): string {
  return `127.9.${Math.floor(client / 200)}.${(client % 200) + 1}`;
}

let building: Promise<string> | undefined;

async function build(): Promise<string> {
  const program = join(await mkdtemp(join(tmpdir(), 'cardless-nbd-storm-')), 'nbd-storm');
  await run('gcc', ['-O2', '-Wall', '-Wextra', '-pthread', '-o', program, join(projectRoot, 'bench/nbd-storm.c')]);
  return program;
}

export async function nbdLoad(options: NbdLoadOptions): Promise<NbdLoad> {
  building ??= build();
  const { port, exportName, clients, limitSeconds, firstClient = 0 } = options;
  const args = ['127.0.0.1', port, exportName, clients, addressOf(firstClient), limitSeconds].map(String);
  const child = execa(await building, args, { reject: false });
  const lines = child.iterable();
  return {
    async round() {
      const { value, done } = await lines.next();
      if (done) {
        throw new Error(`nbd-storm ended: ${(await child).stderr}`);
      }
      return Round.parse(JSON.parse(String(value)));
    },
    again: () => void child.stdin.write('again\n'),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await child;
    },
  };
}
