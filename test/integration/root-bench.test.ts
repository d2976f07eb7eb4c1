import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { RootNetwork } from '#src/cli/bench/root/root-network.ts';
import { projectRoot } from '#src/config/places.ts';
import { run } from '#src/process/run.ts';
import { startChild } from '#src/process/supervise.ts';
import { insideNamespace } from '#src/sim/lab.ts';

const bytes = 3_000_000;
/** One segment's payload of a full frame, and what TCP, IP and Ethernet put before it. */
const [payload, headers] = [1448, 66];

test("the server's port counts every frame with its headers, and lets no more through than its rate", async () => {
  const directory = await mkdtemp(join(tmpdir(), 'cardless-root-bench-'));
  const program = join(directory, 'nbd-load');
  await run('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-std=gnu17', '-o', program, join(projectRoot, 'bench/nbd-load.c')]);
  try {
    await using network = await RootNetwork.create('test');
    await network.shape('100mbit');
    const before = await network.wireBytes();
    const { namespace, server } = network.segment;
    await using _source = startChild(...insideNamespace(namespace, program, ['source', server, '10808', `${bytes}`]), { graceMs: 1000 });
    const sink = async (): Promise<string> => await run(...network.lab.inside(program, ['sink', server, '10808']));
    let said: string | undefined;
    for (let tries = 0; said === undefined; tries += 1) {
      said = await sink().catch(async (error: unknown) => {
        if (tries > 100) {
          throw error;
        }
        await sleep(50);
        return undefined;
      });
    }
    const result = JSON.parse(said) as { bytes: number; seconds: number };
    expect(result.bytes).toBe(bytes);
    // The first 128 KiB pass at once: the burst.
    expect(result.seconds).toBeGreaterThan(((bytes - 131_072) * 8) / 100e6);
    const counted = (await network.wireBytes()) - before;
    const frames = bytes / payload;
    expect(counted).toBeGreaterThan(bytes + frames * headers);
    // ACKs, ARP and the handshakes are far less than the headers of all data.
    expect(counted).toBeLessThan(bytes + 3 * frames * headers);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
