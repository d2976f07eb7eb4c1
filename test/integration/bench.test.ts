import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { isAlive } from '#src/process/signal.ts';
import { startChild } from '#src/process/supervise.ts';
import { cardless, ran } from '../support/lab-server.ts';

async function bench(part: string): Promise<ReturnType<typeof JSON.parse>> {
  const state = await mkdtemp(join(tmpdir(), 'cardless-bench-'));
  try {
    const result = await cardless(['--state', state, 'bench', 'protocols', '--tiny', '--only', part, '--json']);
    // Goals are for a real run: this one only shows that all of it works.
    expect(result.stderr).not.toMatch(/cannot|could not|Error:/);
    expect((await readdir(state)).filter((name) => name.startsWith('bench'))).toEqual([]);
    return JSON.parse(result.stdout.split('\n').at(-1) ?? '');
  } finally {
    await rm(state, { recursive: true, force: true });
  }
}

test('a moment of TFTP with the real servers: every server moves bytes, every transfer over a bad link ends right', async () => {
  const report = await bench('tftp');
  expect(report.machine.cores).toBeGreaterThan(0);
  expect(report.tftp).toHaveLength(2);
  for (const row of report.tftp) {
    expect(row).toMatchObject({ clients: 2, blksize: 1468, failed: 0 });
    expect(Math.min(row.ours, row.dnsmasq, row['tftpd-hpa'], row.ratioToBest, row.p99BlockUs.ours)).toBeGreaterThan(0);
  }
  expect(report.tftp.map((row: { windowsize: number }) => row.windowsize)).toEqual([1, 16]);
  expect(report.fairness[0].ours).toBeGreaterThanOrEqual(1);
  expect(report.faults.map((row: { completed: { ours: string } }) => row.completed.ours)).toEqual(['1/1', '1/1']);
  expect(report.goals.length).toBeGreaterThan(4);
  expect([report.dhcp, report.storm]).toEqual([[], []]);
});

test('a moment of DHCP with the real servers: every server gives every client a lease', async () => {
  const [row] = (await bench('dhcp')).dhcp;
  expect(row).toMatchObject({ clients: 5, latencyRate: 1000 });
  expect(row.error).toBeUndefined();
  for (const server of ['ours', 'dnsmasq', 'kea'] as const) {
    expect(Math.min(row[server], row.firstLeases[server], row.offerP99Ms[server])).toBeGreaterThan(0);
  }
});

test('SIGINT in the middle takes name spaces and servers down', async () => {
  const state = await mkdtemp(join(tmpdir(), 'cardless-bench-'));
  let isMeasuring = false;
  const main = join(projectRoot, 'src/main.ts');
  const args = [main, '--state', state, 'bench', 'protocols', '--quick', '--only', 'tftp'];
  await using child = startChild(process.execPath, args, {
    graceMs: 60_000,
    onLine: (line) => {
      isMeasuring ||= line.includes('TFTP 64 x 1468');
    },
  });
  const pid = child.pid ?? 0;
  while (!isMeasuring && isAlive(pid)) {
    await sleep(50);
  }
  expect(isMeasuring).toBe(true);
  const namespaces = async (): Promise<string[]> =>
    (await ran('ip', ['netns', 'list'])).stdout.split('\n').filter((line) => line.startsWith(`cardless-${pid}-`));
  expect(await namespaces()).toHaveLength(4);
  process.kill(pid, 'SIGINT');
  expect(await child.ended).toEqual({ kind: 'exited', exitCode: 1 });
  expect(await namespaces()).toEqual([]);
  const left = (await ran('pgrep', ['-f', state])).stdout;
  expect(left).toBe('');
  await rm(state, { recursive: true, force: true });
});
