import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { parseMac } from '#src/domain/mac.ts';
import { readKernelClock } from '#src/net/kernel-clock.ts';
import { startChild } from '#src/process/supervise.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { cardless, type Ran, ran, startLab, subnet, type TestLab, until } from '../support/lab-server.ts';

const mode = ['--mode', 'full', '--subnet', subnet];
const Sample = z.object({ offset: z.number(), stratum: z.number(), leap: z.string() });

async function board(lab: TestLab, address: string): Promise<(file: string, ...args: string[]) => Promise<Ran>> {
  const namespace = await lab.lab.addBoard(parseMac('52:54:00:00:05:05'));
  await ran('ip', ['-n', namespace, 'address', 'add', `${address}/24`, 'dev', 'eth0']);
  return (file, ...args) => ran(...insideNamespace(namespace, file, args));
}

test('the client of ntpsec gets the time, of a clock that nobody has set only where that was said', async () => {
  await using lab = await startLab('timelocal', [...mode, '--time-server', 'local']);
  const inside = await board(lab, '10.78.0.20');
  const asked = await inside('ntpdig', '-j', '-t', '5', '10.78.0.1');
  expect(asked.code).toBe(0);
  const sample = Sample.parse(JSON.parse(asked.stdout));
  expect(sample).toMatchObject(readKernelClock().isSynchronised ? {} : { stratum: 10, leap: 'no-leap' });
  // One clock: what is left is the way there and back, on a machine that may be busy.
  expect(Math.abs(sample.offset)).toBeLessThan(1);

  const listed = await cardless(['--state', lab.state, 'service', 'list', '--json']);
  expect(JSON.parse(listed.stdout)).toMatchObject([
    { service: 'time', interface: 'br0', status: { answered: 1, refused: 0, badPackets: 0 } },
  ]);
});

test('what this clock is worth is told as it is', async () => {
  await using lab = await startLab('timestrict', [...mode, '--time-server']);
  const inside = await board(lab, '10.78.0.20');
  const { isSynchronised } = readKernelClock();
  const asked = await inside('ntpdig', '-j', '-t', '5', '10.78.0.1');
  expect(asked.code === 0 && /"stratum":\s*[1-9]/.test(asked.stdout)).toBe(isSynchronised);

  const shown = await lab.server.client.call('GET', '/services');
  expect(shown).toMatchObject([{ service: 'time', status: { isSynchronised } }]);
});

test('a time server that this machine runs already is named', async () => {
  await using lab = await startLab('timeport', mode);
  await lab.server.stop();
  const said: string[] = [];
  const hold =
    'import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(("", 123))\nprint("held", flush=True)\ntime.sleep(600)';
  await using _ = startChild(...lab.lab.inside('python3', ['-c', hold]), { graceMs: 1000, onLine: (line) => said.push(line) });
  await until(async () => Promise.resolve(said.includes('held')), 'the port to be taken');
  await writeFile(join(lab.state, 'cardless.yaml'), 'interfaces: [{name: br0, mode: full, timeServer: true}]\n');
  const refused = await ran(...lab.lab.inside(process.execPath, ['src/main.ts', '--state', lab.state, 'up']));
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(/UDP port 123 is taken by python3 \(pid \d+\)/) });
});
