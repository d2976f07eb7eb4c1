import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SimReport } from '#src/cli/sim/sim-report.ts';
import { cardless } from '../support/lab-server.ts';

let state = '';
beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'cardless-sim-'));
});
afterAll(() => rm(state, { recursive: true, force: true }));

async function sim(...args: string[]): Promise<SimReport> {
  const { stdout, stderr } = await cardless(['--state', state, 'sim', '--json', ...args]);
  const line = stdout.split('\n').find((text) => text.startsWith('{'));
  if (line === undefined) {
    throw new Error(`no report: ${stderr}`);
  }
  return SimReport.parse(JSON.parse(line));
}

describe('cardless sim in a lab of its own', () => {
  test.each([
    ['pi3b', ['--count', '3']],
    ['pi3b+', ['--mode', 'proxy']],
    ['pi4', ['--count', '5', '--bandwidth', '1gbit', '--file-timeout', '300s']],
    ['pi5', ['--mode', 'proxy', '--file-timeout', '300s']],
    ['pc-uefi', ['--mode', 'proxy']],
    ['ipxe', ['--count', '3', '--loss', '0.5%', '--reorder', '1%', '--dup', '1%', '--latency', '1ms']],
  ])('%s %j', async (model, flags) => {
    const report = await sim('--model', model, '--boot-bytes', '5M', ...flags);
    expect(report).toMatchObject({ ok: true, model, violations: 0, failed: 0 });
    expect(new Set(report.boards.map((board) => board.mac)).size).toBe(report.count);
    expect(report.bytes).toBeGreaterThan(report.count * 3_900_000);
    expect(report.makespanRatio === undefined).toBe(!flags.includes('--bandwidth'));
  });
  test('a failed boot is exit code 1, and the report says why', async () => {
    const result = await cardless(['--state', state, 'sim', '--json', '--image', 'never-built', '--model', 'pi3b+']);
    expect(result.code).toBe(1);
    const report = SimReport.parse(JSON.parse(result.stdout));
    expect(report.boards[0]?.failure).toMatch(/bootcode\.bin/);
  });
});
