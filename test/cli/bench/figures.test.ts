import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type DhcpFigures,
  dhcpRow,
  faultRow,
  median,
  nextRate,
  Runs,
  ratioToBest,
  rounded,
  type TftpFigures,
  type Trial,
  tftpRow,
} from '#src/cli/bench/figures.ts';

function figures(megabytesPerSecond: number, change: Partial<TftpFigures> = {}): TftpFigures {
  return { megabytesPerSecond, p99BlockUs: 50, cpuSecondsPerGb: 2, clientBusy: 0.4, windowsize: 1, failed: 0, error: '', ...change };
}

describe('median and ratio', () => {
  test('the middle one, or the mean of the two in the middle', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(median([7])).toBe(7);
    expect(median([])).toBeNaN();
  });

  test('the median lies among its values and does not depend on their order', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1 }), (values) => {
        expect(median(values)).toBeGreaterThanOrEqual(Math.min(...values));
        expect(median(values)).toBeLessThanOrEqual(Math.max(...values));
        expect(median(values.toReversed())).toBe(median(values));
      }),
    );
  });

  test('more is better for rates, less for times; above 1 is always ours', () => {
    expect(ratioToBest(300, [200, 100], 'more')).toBe(1.5);
    expect(ratioToBest(2, [30, 60], 'less')).toBe(15);
  });

  test('a peer without a figure is left out; with none there is no ratio', () => {
    expect(ratioToBest(300, [0, 100], 'more')).toBe(3);
    expect(ratioToBest(300, [0, Number.NaN], 'more')).toBeUndefined();
    expect(ratioToBest(0, [100], 'more')).toBeUndefined();
  });

  test('three digits are kept', () => {
    expect(rounded(123_456)).toBe(123_000);
    expect(rounded(0.012_345)).toBe(0.0123);
  });
});

describe('TFTP rows', () => {
  const runs = {
    ours: [figures(90), figures(110), figures(100)],
    dnsmasq: [figures(50), figures(200), figures(40)],
    'tftpd-hpa': [figures(80, { failed: 2, error: 'the server said: no' })],
  };

  test('medians of the rounds, the ratio to the better peer, and what failed', () => {
    const row = tftpRow({ clients: 8, blksize: 1468, windowsize: 1 }, runs);
    expect(row).toMatchObject({ clients: 8, blksize: 1468, windowsize: 1, ours: 100, dnsmasq: 50, 'tftpd-hpa': 80, ratioToBest: 1.25 });
    expect(row.spread['dnsmasq']).toEqual([40, 200]);
    expect(row.failed).toBe(2);
    expect(row.error).toBe('the server said: no');
  });

  test("a window is compared with the peers' lock-step, and tells the window that was granted", () => {
    const lockStep = tftpRow({ clients: 8, blksize: 1468, windowsize: 1 }, runs);
    const row = tftpRow({ clients: 8, blksize: 1468, windowsize: 16 }, { ours: [figures(400, { windowsize: 8 })] }, lockStep);
    expect(row).toMatchObject({ windowsize: 16, windowsizeGranted: 8, ours: 400, dnsmasq: 50, 'tftpd-hpa': 80, ratioToBest: 5 });
  });
});

describe('rows of bad links', () => {
  const facts = { clients: 1, blksize: 1468, windowsize: 1, bytes: 10_000_000, limitSeconds: 60, loss: 0.01, dup: 0, reorder: 0 };

  test('who did not complete has no time, and counts with the limit', () => {
    const row = faultRow(facts, {
      ours: [
        { seconds: 4, completed: true },
        { seconds: 6, completed: true },
      ],
      dnsmasq: [{ seconds: 60, completed: false }],
      'tftpd-hpa': [{ seconds: 60, completed: false }],
    });
    expect(row).toMatchObject({ ours: 5, dnsmasq: null, 'tftpd-hpa': null, ratioToBest: 12 });
    expect(row.completed).toEqual({ ours: '2/2', dnsmasq: '0/1', 'tftpd-hpa': '0/1' });
  });

  test('when ours did not complete there is no ratio', () => {
    const row = faultRow(facts, { ours: [{ seconds: 60, completed: false }], dnsmasq: [{ seconds: 9, completed: true }] });
    expect(row).toMatchObject({ ours: null, dnsmasq: 9, ratioToBest: null });
  });
});

test('a DHCP row has medians, milliseconds and what went wrong', () => {
  const runs = new Runs<DhcpFigures>();
  for (const [server, rate] of [
    ['ours', 30_000],
    ['dnsmasq', 2000],
    ['kea', 15_000],
  ] as const) {
    runs.add(server, { exchangesPerSecond: rate, offerP50Us: 100, offerP99Us: 2500, loss: 0, clientBusy: 0.5 });
  }
  const row = dhcpRow(250, 1000, runs.all(), { ours: 20_000 }, ['dnsmasq gave 3 of 250 first leases in 60 s']);
  expect(row).toMatchObject({ clients: 250, ours: 30_000, dnsmasq: 2000, kea: 15_000, ratioToBest: 2 });
  expect(row.offerP99Ms['ours']).toBe(2.5);
  expect(row.error).toContain('dnsmasq gave 3 of 250');
});

describe('the search for the highest rate that a server holds', () => {
  const search = (limit: number, from: number): Trial[] => {
    const trials: Trial[] = [];
    for (let rate = nextRate(from, trials); rate !== undefined; rate = nextRate(from, trials)) {
      trials.push({ rate, ok: rate <= limit });
    }
    return trials;
  };

  test('doubles, halves, and ends close below the limit', () => {
    fc.assert(
      fc.property(fc.integer({ min: 20, max: 150_000 }), fc.integer({ min: 100, max: 50_000 }), (limit, from) => {
        const trials = search(limit, from);
        const held = Math.max(...trials.filter((trial) => trial.ok).map((trial) => trial.rate));
        expect(held).toBeLessThanOrEqual(limit);
        expect(held).toBeGreaterThan(limit / 1.2);
        expect(trials.length).toBeLessThan(25);
      }),
    );
  });

  test('ends with a server that holds nothing, and with one that holds everything', () => {
    expect(search(0, 1000).every((trial) => !trial.ok)).toBe(true);
    expect(search(Number.POSITIVE_INFINITY, 1000).at(-1)).toEqual({ rate: 200_000, ok: true });
  });
});
