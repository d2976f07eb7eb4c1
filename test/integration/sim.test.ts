import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SimReport } from '#src/cli/sim/sim-report.ts';
import { parseMac } from '#src/domain/mac.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { capture } from '../support/captures.ts';
import { cardless, ran, startLab } from '../support/lab-server.ts';
import { clientFrame, pcap } from '../support/pcap.ts';

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
    ['uefi-http', ['--mode', 'proxy']],
    ['u-boot', []],
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

describe('cardless sim --replay', () => {
  test('sends what clients sent in a capture and tells what comes back', async () => {
    await using lab = await startLab('replay');
    await cardless(['--state', lab.state, 'node', 'add', 'red5', '--mac', 'b8:27:eb:6c:4c:16']);
    const file = join(lab.state, 'boot.pcap');
    const discover = capture('pi3-bootcode-discover');
    await writeFile(file, pcap([{ atMs: 0, bytes: clientFrame(68, 67, discover) }]));
    const namespace = await lab.lab.addBoard(parseMac('02:00:00:00:00:01'));
    const played = await ran(
      ...insideNamespace(namespace, process.execPath, ['src/main.ts', 'sim', '--interface', 'eth0', '--replay', file]),
    );
    expect(played.stderr).toBe('');
    expect(played.stdout).toMatch(/^> 0\.0\.0\.0:68 > 255\.255\.255\.255:67 DHCP DISCOVER/);
    expect(played.stdout).toMatch(/< 10\.78\.0\.1:67 > \S+:68 DHCP OFFER for b8:27:eb:6c:4c:16/);
  });
});
