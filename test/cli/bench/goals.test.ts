import { describe, expect, test } from 'vitest';
import type { DhcpRow, FaultRow, StormRow, TftpRow } from '#src/cli/bench/figures.ts';
import { goalsOf, type Measured } from '#src/cli/bench/goals.ts';
import { markdownReport, textReport, withTables } from '#src/cli/bench/report.ts';

const nothing: Measured = { tftp: [], fairness: [], faults: [], dhcp: [], storm: [] };

function tftp(clients: number, windowsize: number, ratioToBest: number | null): TftpRow {
  const figures = { ours: 100, dnsmasq: 80, 'tftpd-hpa': 70 };
  return {
    ...figures,
    clients,
    blksize: 1468,
    windowsize,
    windowsizeGranted: windowsize,
    ratioToBest,
    spread: { ours: [90, 110] },
    p99BlockUs: figures,
    cpuSecondsPerGb: figures,
    clientBusy: figures,
    failed: 0,
  };
}

function fault(change: Partial<FaultRow>): FaultRow {
  const facts = { clients: 1, blksize: 1468, windowsize: 1, bytes: 10_000_000, limitSeconds: 60, loss: 0.01, dup: 0, reorder: 0 };
  return { ...facts, ours: 3, dnsmasq: null, 'tftpd-hpa': null, completed: { ours: '3/3' }, ratioToBest: 20, ...change };
}

const dhcp: DhcpRow = {
  clients: 250,
  ours: 30_000,
  dnsmasq: 2000,
  kea: 15_000,
  ratioToBest: 2,
  firstLeases: { ours: 9000 },
  offerP50Ms: { ours: 0.1 },
  offerP99Ms: { ours: 4.9 },
  lossAtLatencyRate: { ours: 0 },
  clientBusy: { ours: 0.5 },
  latencyRate: 1000,
};

const storm: StormRow = {
  model: 'pi4',
  mode: 'full',
  bandwidth: '1gbit',
  bootBytes: '40M',
  count: 200,
  booted: 200,
  makespanRatio: 1.1,
  restarts: 0,
  seconds: 70,
};

function met(measured: Partial<Measured>): boolean[] {
  return goalsOf({ ...nothing, ...measured }).map((goal) => goal.met);
}

describe('goals', () => {
  test('as good as the better peer; 1.3 times from 64 clients on; 3 times with a window', () => {
    expect(met({ tftp: [tftp(1, 1, 1), tftp(8, 1, 0.99)] })).toEqual([true, false]);
    expect(met({ tftp: [tftp(64, 1, 1.3), tftp(200, 1, 1.29)] })).toEqual([true, false]);
    expect(met({ tftp: [tftp(1, 16, 3), tftp(8, 16, 2.9)] })).toEqual([true, false]);
    expect(met({ tftp: [{ ...tftp(1, 16, 4), windowsizeGranted: 1 }] })).toEqual([false]);
    expect(met({ tftp: [tftp(1, 1, null)] })).toEqual([false]);
  });

  test('the slowest of equal clients takes at most 1.5 times the time of the fastest', () => {
    const row = { clients: 64, blksize: 1468, dnsmasq: 1, 'tftpd-hpa': 1 };
    const fairness = [
      { ...row, ours: 1.5 },
      { ...row, ours: 1.6 },
    ];
    expect(met({ fairness })).toEqual([true, false]);
  });

  test("at 1 % loss a tenth of dnsmasq's time, where one that never ended counts with the limit", () => {
    expect(met({ faults: [fault({ ours: 6 })] })).toEqual([true, true]);
    expect(met({ faults: [fault({ ours: 6.1 })] })).toEqual([true, false]);
    expect(met({ faults: [fault({ ours: 3, dnsmasq: 20 })] })).toEqual([true, false]);
    expect(met({ faults: [fault({ ours: null, completed: { ours: '0/3' } })] })).toEqual([false, false]);
  });

  test('in a storm of faults every transfer completes, however long it takes', () => {
    const weather = { loss: 0.05, dup: 0.05, reorder: 0.05, ours: 50 };
    expect(met({ faults: [fault(weather), fault({ ...weather, completed: { ours: '2/3' } })] })).toEqual([true, false]);
    expect(met({ faults: [fault({ ...weather, completed: {} })] })).toEqual([false]);
  });

  test('twice the exchanges of the better peer, offers within 5 ms, and no loss while that was measured', () => {
    expect(met({ dhcp: [dhcp] })).toEqual([true, true, true]);
    const worse = { ...dhcp, ratioToBest: 1.9, offerP99Ms: { ours: 5.1 }, lossAtLatencyRate: { ours: 0.02 } };
    expect(met({ dhcp: [worse] })).toEqual([false, false, false]);
  });

  test('all boards up, none restarted, near the rate of the line', () => {
    expect(met({ storm: [storm] })).toEqual([true, true, true]);
    expect(met({ storm: [{ ...storm, booted: 199, restarts: 1, makespanRatio: 1.2 }] })).toEqual([false, false, false]);
    expect(met({ storm: [{ ...storm, makespanRatio: null, error: 'not available: no sim' }] })).toEqual([false, false, false]);
    expect(met({ storm: [{ ...storm, model: 'pi3b', count: 48, booted: 48, makespanRatio: 40 }] })).toEqual([true, true]);
  });

  test('what was not measured has no goal', () => {
    expect(goalsOf(nothing)).toEqual([]);
  });
});

describe('reports', () => {
  const measured: Measured = { ...nothing, tftp: [tftp(64, 16, 4)], faults: [fault({})], dhcp: [dhcp], storm: [storm] };
  const report = { ...measured, ok: false, machine: { cores: 2, node: 'v26', kernel: '6.18' }, seconds: 9, goals: goalsOf(measured) };

  test('text has aligned tables of what was measured, and how many goals were met', () => {
    const text = textReport(report);
    expect(text).toContain('TFTP throughput');
    expect(text).toContain('over 60 (-)');
    expect(text).toContain(`${report.goals.filter((goal) => goal.met).length} of ${report.goals.length} goals met`);
    expect(text).not.toContain('Fairness');
  });

  test('markdown tables have as many cells in every line as in their head', () => {
    const tables = markdownReport(report)
      .split('\n\n')
      .filter((block) => block.startsWith('|'));
    expect(tables).toHaveLength(5);
    for (const table of tables) {
      expect(new Set(table.split('\n').map((line) => line.split('|').length)).size).toBe(1);
    }
  });

  test('tables go between the marks of a document, again and again, or are all of a file without marks', () => {
    const [begin, end] = ['<!-- tables of bench protocols: begin -->', '<!-- tables of bench protocols: end -->'];
    const first = withTables(`before\n${begin}\n${end}\nafter\n`, 'one');
    expect(first).toBe(`before\n${begin}\n\none\n\n${end}\nafter\n`);
    expect(withTables(first, 'two')).toBe(`before\n${begin}\n\ntwo\n\n${end}\nafter\n`);
    expect(withTables('', 'one')).toBe('one\n');
  });
});
