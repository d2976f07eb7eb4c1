import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type NbdHost, startNbdHost } from '../support/nbd-host.ts';
import { nbdLoad } from '../support/nbd-load.ts';
import { stopProcesses } from '../support/stopped.ts';

const clients = 200;
const stallMs = 8000;

/** What the processes take, with what they share counted once (PSS), in KiB for each client. */
async function memoryPerClient(host: NbdHost): Promise<number> {
  const rollups = await Promise.all((await host.pids()).map((pid) => readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '')));
  const kib = rollups.map((text) => Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0));
  return Math.round(kib.reduce((sum, value) => sum + value, 0) / clients);
}

describe.each(['root', 'overlay'])('200 nodes that want their %s in the same instant', (exportName) => {
  test('all are attached, at first and after nbd-server did nothing for a while', async () => {
    await using host = await startNbdHost(clients);
    await using load = await nbdLoad({ port: host.port, exportName, clients, limitSeconds: 60 });
    const first = await load.round();
    const kib = await memoryPerClient(host);
    {
      using _stalled = stopProcesses(await host.pids());
      load.again();
      await sleep(stallMs);
    }
    const second = await load.round();
    const afterStall = (second.lastSeconds - stallMs / 1000).toFixed(1);
    process.stdout.write(
      `${exportName}: ${first.attached} attached after ${first.lastSeconds} s with ${first.tries} tries; ` +
        `${second.attached} attached ${afterStall} s after a stall, with ${second.tries} tries; ${kib} KiB of the server for each client\n`,
    );
    expect(first).toMatchObject({ clients, attached: clients });
    expect(second).toMatchObject({ clients, attached: clients });
  });
});
