import { expect, test } from 'vitest';
import { vitalsFacts, vitalsTable } from '#src/cli/node/vitals-view.ts';
import type { HeardVitals } from '#src/domain/vitals.ts';

const now = 1_000_000;
const pi: HeardVitals = {
  at: now - 3000,
  hostname: 'red5',
  uptimeSeconds: 93_784,
  load: [0.5, 0.25, 0.1],
  cpu: [100, 0, 50, 51],
  memory: { totalBytes: 1_000_000_000, availableBytes: 750_000_000 },
  frequencyMHz: 1200,
  temperatureCelsius: 61.8,
  throttled: { from: 'firmware', bits: 0x5_0001 },
  disks: { root: { usedBytes: 300_000_000, availableBytes: 0 }, overlay: { usedBytes: 1_000_000, availableBytes: 99_000_000 } },
  network: { eth0: { receivedBytes: 12_345_678, receivedPackets: 9, sentBytes: 1000, sentPackets: 8 } },
};

test('a line for each node; what a machine did not tell is a dash, and nobody has heard is never', () => {
  const pc: HeardVitals = { at: now - 600_000, load: [1, 2, 3], uptimeSeconds: 59, throttled: { from: 'hwmon', bits: 0 } };
  const rows = [{ name: 'red5', vitals: pi }, { name: 'pc1', vitals: pc }, { name: 'red6' }];
  expect(vitalsTable(rows, now)).toBe(
    [
      'NAME  LOAD  CPU   MEMORY  TEMP  THROTTLED                        OVERLAY  DATA  UPTIME   HEARD',
      'red5  0.50  50 %  25 %    62 C  under-voltage, throttled before  1 %      -     1 d 2 h  3 s ago',
      'pc1   1.00  -     -       -     no under-voltage                 -        -     0 min    10 min ago',
      'red6  -     -     -       -     -                                -        -     -        never',
    ].join('\n'),
  );
});

test('all of it for one node', () => {
  expect(vitalsFacts(pi, now)).toEqual([
    ['heard', '3 s ago, up for 1 d 2 h'],
    ['load', '0.5 0.25 0.1'],
    ['cpu', '100 0 50 51 % busy, 1200 MHz, 61.8 C, throttled: under-voltage, throttled before'],
    ['memory', '250.0 MB of 1.0 GB used'],
    ['disks', 'root 300.0 MB used, 0 B free; overlay 1.0 MB used, 99.0 MB free'],
    ['network', 'eth0 12.3 MB received, 1.0 kB sent'],
  ]);
  expect(vitalsFacts({ at: now }, now)).toEqual([['heard', '0 s ago']]);
  expect(vitalsFacts(undefined, now)).toEqual([]);
});
