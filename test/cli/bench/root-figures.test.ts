import { describe, expect, test } from 'vitest';
import { type BootFigures, type RootMeasured, rootGoals, rootRow } from '#src/cli/bench/root/root-figures.ts';
import { rootPlanOf, rootPlanSeconds } from '#src/cli/bench/root/root-plan.ts';
import { type RootReport, rootTextReport, withRootTables } from '#src/cli/bench/root/root-report.ts';

function boot(seconds: number, megabytes: number, more: Partial<BootFigures> = {}): BootFigures {
  return { seconds, bytes: megabytes * 1e6, serverCpuSeconds: 1, serverMemoryBytes: 2 ** 20, ...more };
}

const cell = { link: '1gbit', guests: 4 } as const;

describe('a row', () => {
  test('has medians, per node where that makes sense', () => {
    const ours = [boot(50, 160), boot(30, 120), boot(40, 400, { serverCpuSeconds: 8, serverMemoryBytes: 40 * 2 ** 20 })];
    const row = rootRow(cell, { ours, ltsp: [], nfs: [] }, []);
    expect(row.ours).toEqual({ seconds: 40, megabytes: 40, serverCpuSeconds: 0.25, serverMemoryMiB: 0.25, runs: 3 });
  });

  test('is held against the better peer of each figure, which need not be the same one', () => {
    const row = rootRow(cell, { ours: [boot(30, 160)], ltsp: [boot(60, 800)], nfs: [boot(50, 1600)] }, []);
    expect(row).toMatchObject({ bytesRatio: 0.2, secondsRatio: 0.6 });
  });

  test('has no ratio without ours or without any peer, and one peer is enough', () => {
    const nothing = { bytesRatio: null, secondsRatio: null };
    expect(rootRow(cell, { ours: [], ltsp: [boot(60, 8)], nfs: [boot(50, 16)] }, ['ours: no root'])).toMatchObject(nothing);
    expect(rootRow(cell, { ours: [boot(1, 1)], ltsp: [], nfs: [] }, [])).toMatchObject(nothing);
    const one = rootRow(cell, { ours: [boot(30, 4)], ltsp: [], nfs: [boot(60, 16)] }, ['ltsp: no root']);
    expect(one).toMatchObject({ bytesRatio: 0.25, secondsRatio: 0.5, ltsp: null, errors: ['ltsp: no root'] });
  });
});

test('the goals are half the bytes and two thirds of the time, and what was not measured does not meet them', () => {
  const exact = rootRow(cell, { ours: [boot(30, 50)], ltsp: [boot(60, 100)], nfs: [] }, []);
  expect(rootGoals([exact]).map((goal) => goal.met)).toEqual([true, true]);
  expect(rootGoals([{ ...exact, bytesRatio: 0.51, secondsRatio: 0.68 }]).map((goal) => goal.met)).toEqual([false, false]);
  expect(rootGoals([{ ...exact, secondsRatio: 0.666 }])[1]?.met).toBe(true);
  expect(rootGoals([{ ...exact, bytesRatio: null }])[0]).toMatchObject({ got: 'not measured', met: false });
});

describe('the plan', () => {
  test('measures both links and 1, 4 and 8 guests in full, one guest when tiny', () => {
    expect(rootPlanOf('full').cells.map(({ link, guests }) => `${guests} ${link}`)).toEqual([
      ...['1 1gbit', '1 100mbit', '4 1gbit', '4 100mbit', '8 1gbit', '8 100mbit'],
    ]);
    expect(rootPlanOf('tiny').cells).toEqual([{ guests: 1, link: '1gbit', rounds: 1 }]);
    expect(rootPlanOf('quick', 3).cells.map((planned) => planned.rounds)).toEqual([3, 3]);
  });

  test('counts only the parts that were asked for', () => {
    const plan = rootPlanOf('tiny');
    const all = rootPlanSeconds(plan, () => true, 3);
    const boots = rootPlanSeconds(plan, (part) => part === 'boot', 3);
    const nbd = rootPlanSeconds(plan, (part) => part === 'nbd', 3);
    expect(boots).toBeGreaterThan(nbd);
    expect(all).toBe(boots + nbd);
  });
});

const measured: RootMeasured = {
  rows: [rootRow(cell, { ours: [boot(30, 160)], ltsp: [], nfs: [boot(60, 400)] }, ['ltsp: 3 of 4 were ready'])],
  throughput: [{ link: '1gbit', requestKiB: 128, depth: 4, nbdMegabytesPerSecond: 110, rawMegabytesPerSecond: 118, ratio: 0.932 }],
  manyClients: { clients: 200, serverMemoryMiBPerClient: 0.3, serverMemoryMiBBefore: 90, secondsToConnect: 2 },
  bootFiles: {
    ours: { kernel: 12e6, initramfs: 3.4e6, root: 150e6 },
    ltsp: { kernel: 12e6, initramfs: 37e6, root: 160e6 },
    nfs: { kernel: 12e6, initramfs: 36.9e6, root: 340e6 },
  },
};
const report: RootReport = {
  ok: false,
  machine: { cores: 2, node: 'v26', kernel: '6.18' },
  seconds: 100,
  ...measured,
  goals: rootGoals(measured.rows),
};

describe('the report', () => {
  test('shows a contender without figures as a dash, with its error below', () => {
    const text = rootTextReport(report);
    expect(text).toMatch(/1gbit +4 +40 +- +100 +0\.4 +30 +- +60 +0\.5 +1 \/ - \/ 1/);
    expect(text).toContain('4 guests, 1gbit: ltsp: 3 of 4 were ready');
    expect(text).toContain('2 of 2 goals met');
  });

  test('puts its tables between the marks of a document and leaves the rest alone', () => {
    const page = withRootTables('', report);
    expect(page).toMatch(/^# Network roots, measured\n/);
    expect(page).toContain('| 1gbit | 128 | 4 | 110 | 118 | 0.932 |');
    const edited = page.replace('# Network roots, measured\n', '# Title\n\nWords.\n');
    const again = withRootTables(`${edited}\nEnd.\n`, { ...report, seconds: 200 });
    expect(again).toMatch(/^# Title\n\nWords\.\n/);
    expect(again.match(/The run took \d+ s/g)).toEqual(['The run took 200 s']);
    expect(again.trimEnd()).toMatch(/End\.$/);
  });

  test('has no empty tables', () => {
    const text = rootTextReport({ ...report, rows: [], goals: [], throughput: [], manyClients: null });
    expect(text).toBe('0 of 0 goals met');
  });
});
