import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { SimReport } from '#src/cli/sim/sim-report.ts';
import { systemClock } from '#src/daemon/system-clock.ts';
import { parseMac } from '#src/domain/mac.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { PcMachine } from '#src/sim/pc-machines.ts';
import { startRouter } from '../test/support/foreign.ts';
import { useRealImages } from '../test/support/guests.ts';
import { cardless, startLab, subnet, type TestLab, until } from '../test/support/lab-server.ts';

const bootTimeoutMs = 8 * 60_000;

interface Kind {
  readonly model: string;
  readonly count: number;
  /** MAC of the port that they share. */
  readonly port: string;
  readonly firstSerial: number;
}

const kinds: readonly Kind[] = [
  { model: 'pi3b', count: 3, port: '02:00:00:00:00:11', firstSerial: 0x10a10001 },
  { model: 'pi4', count: 4, port: '02:00:00:00:00:12', firstSerial: 0x20b20001 },
  { model: 'pi5', count: 2, port: '02:00:00:00:00:13', firstSerial: 0x30c30001 },
];

async function register(lab: TestLab, { model, count, firstSerial }: Kind): Promise<void> {
  const serials = Array.from({ length: count }, (_, index) => (firstSerial + index).toString(16));
  const added = await cardless(['--state', lab.state, 'node', 'add', `${model}-[1-${count}]`, '--serial', serials.join(',')]);
  expect(added).toMatchObject({ code: 0 });
}

async function boot(lab: TestLab, { model, count, port, firstSerial }: Kind): Promise<SimReport> {
  const namespace = await lab.lab.addBoard(parseMac(port));
  const which = ['--model', model, '--count', `${count}`, '--first-serial', firstSerial.toString(16), '--file-timeout', '300s'];
  const args = ['src/main.ts', '--json', 'sim', '--interface', 'eth0', ...which];
  const { stdout, stderr } = await execa(...insideNamespace(namespace, process.execPath, args), { reject: false, stdin: 'ignore' });
  const line = stdout.split('\n').find((text) => text.startsWith('{"ok":'));
  if (line === undefined) {
    throw new Error(`no report of ${model}: ${stderr}`);
  }
  return SimReport.parse(JSON.parse(line));
}

describe('Raspberry Pis and a PC are switched on together, on one segment', () => {
  test.each(['full', 'proxy'] as const)('mode %s', async (mode) => {
    await using lab = await startLab(`mixed-${mode}`, mode === 'full' ? ['--mode', 'full', '--subnet', subnet] : ['--mode', 'proxy']);
    await useRealImages(lab);
    await using _router = mode === 'proxy' ? await startRouter(lab) : undefined;
    const serial = parseSerial('5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e55');
    const directory = join(lab.state, 'pc');
    await cardless(['--state', lab.state, 'node', 'add', 'pc1', '--serial', serial]);
    await using pc = new PcMachine({
      model: 'bios-virtio',
      lab: lab.lab,
      clock: systemClock,
      mac: parseMac('52:54:00:12:34:56'),
      serial,
      directory,
      onLine: () => {},
    });
    await Promise.all(kinds.map((kind) => register(lab, kind)));
    const [reports] = await Promise.all([Promise.all(kinds.map((kind) => boot(lab, kind))), pc.powerOn()]);
    for (const report of reports) {
      expect(report.boards.flatMap((board) => [board.failure ?? [], board.violations].flat())).toEqual([]);
      expect(report).toMatchObject({ ok: true, failed: 0, violations: 0 });
    }
    const arrived = async (): Promise<boolean> =>
      (await lab.server.node('pc1')).boot?.events.some((event) => event.what === 'initramfs has an address') ?? false;
    await until(arrived, 'the initramfs of the PC', bootTimeoutMs);
  });
});
