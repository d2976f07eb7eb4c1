import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toNetascii } from '#src/policy/netascii.ts';
import {
  acknowledge,
  blockLength,
  blockStart,
  expire,
  markSent,
  openTransfer,
  type Pace,
  requestAgain,
  stoppedBy,
  type Transfer,
  wireBlock,
} from '#src/policy/tftp-transfer.ts';

const file = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, index) => index % 251));
const asked = (...options: [string, string][]): { name: string; value: string }[] => options.map(([name, value]) => ({ name, value }));

function open(size: number, options: [string, string][] = [], pace: Pace = 'firmware'): Transfer {
  const transfer = openTransfer({ size, asked: asked(...options), pace, nowMs: 0 });
  markSent(transfer, 0);
  return transfer;
}

/** The first ACK, which follows the OACK. */
function begun(size: number, options: [string, string][], pace: Pace = 'tool'): Transfer {
  const transfer = open(size, options, pace);
  expect(acknowledge(transfer, 0, 10)).toBe('send');
  markSent(transfer, 10);
  return transfer;
}

/** All bytes that a client gets who acknowledges each window at once. */
function play(bytes: Buffer, options: [string, string][]): { blocks: number; bytes: Buffer } {
  const transfer = open(bytes.length, options);
  const received: Buffer[] = [];
  for (let now = 1; ; now += 1) {
    for (let block = Math.max(transfer.acked + 1, 1); block <= transfer.sent; block += 1) {
      const start = blockStart(transfer, block);
      received.push(bytes.subarray(start, start + blockLength(transfer, block)));
    }
    if (acknowledge(transfer, wireBlock(transfer.sent), now) === 'done') {
      return { blocks: received.length, bytes: Buffer.concat(received) };
    }
    markSent(transfer, now);
  }
}

describe('RFC 1350 section 6: normal termination', () => {
  test.each([0, 1, 511, 512, 513, 1024, 100_000])('%i bytes arrive, and the last block is short', (length) => {
    const { blocks, bytes } = play(file(length), []);
    expect(bytes.equals(file(length))).toBe(true);
    expect(blocks).toBe(Math.floor(length / 512) + 1);
  });
});

describe('RFC 2347 to 2349 and RFC 7440: options', () => {
  test.each<[string, [string, string][], string[]]>([
    ['none asked: DATA at once', [], []],
    ['tsize is the size', [['tsize', '0']], ['tsize=1000']],
    [
      "order and spelling are the client's",
      [
        ['BlkSize', '1024'],
        ['tsize', '0'],
      ],
      ['BlkSize=1024', 'tsize=1000'],
    ],
    ['blksize is cut to an Ethernet frame', [['blksize', '65464']], ['blksize=1468']],
    ['blksize below 8 is not answered', [['blksize', '7']], []],
    ['timeout is echoed', [['timeout', '3']], ['timeout=3']],
    ['timeout 0 is not answered', [['timeout', '0']], []],
    ['windowsize is echoed', [['windowsize', '16']], ['windowsize=16']],
    ['windowsize is cut to 64', [['windowsize', '65535']], ['windowsize=64']],
    ['windowsize 0 is not answered', [['windowsize', '0']], []],
    [
      'unknown options are left out',
      [
        ['multicast', ''],
        ['tsize', '0'],
      ],
      ['tsize=1000'],
    ],
    [
      'nonsense is left out',
      [
        ['blksize', 'big'],
        ['tsize', '-1'],
      ],
      [],
    ],
    [
      'asked twice is answered once',
      [
        ['tsize', '0'],
        ['TSIZE', '0'],
      ],
      ['tsize=1000'],
    ],
  ])('%s', (_name, options, want) => {
    const transfer = open(1000, options);
    expect(transfer.options.map(({ name, value }) => `${name}=${value}`)).toEqual(want);
    expect([transfer.acked + 1, transfer.sent]).toEqual(want.length > 0 ? [0, 0] : [1, 1]);
  });
  test('an OACK is followed by DATA 1 once block 0 is acknowledged', () => {
    const transfer = begun(10, [['tsize', '0']]);
    expect([transfer.acked + 1, transfer.sent]).toEqual([1, 1]);
  });
  test('before the OACK is acknowledged, an ACK of block 1 changes nothing', () => {
    expect(acknowledge(open(5000, [['windowsize', '4']]), 1, 5)).toBe('wait');
  });
});

describe('block numbers', () => {
  test.each([
    ['in lock-step', []],
    ['in windows', [['windowsize', '7']]],
  ] as [string, [string, string][]][])('roll over to 0 after 65535, %s', (_name, more) => {
    // Twice.
    const bytes = file(131_080 * 8);
    expect(play(bytes, [['blksize', '8'], ...more]).bytes.equals(bytes)).toBe(true);
  });
  test('after a roll-over an ACK that came before is not answered either', () => {
    const transfer = open(70_000 * 512);
    for (let block = 1; block <= 65_540; block += 1) {
      acknowledge(transfer, wireBlock(block), block);
    }
    expect([65_540, 65_539, 65_535].map((block) => acknowledge(transfer, wireBlock(block), 70_000))).toEqual(['wait', 'wait', 'wait']);
    expect(transfer.acked).toBe(65_540);
  });
});

describe('in lock-step a packet is repeated by the timer and by nothing else', () => {
  test('an ACK that came before is not answered', () => {
    const transfer = open(2000);
    acknowledge(transfer, 1, 1);
    expect(acknowledge(transfer, 1, 2)).toBe('wait');
    expect(acknowledge(transfer, 0, 2)).toBe('wait');
  });
  test('an ACK for a block that was not sent is not answered', () => {
    expect(acknowledge(open(2000), 2, 1)).toBe('wait');
  });
  test('the waits double from 1 s to 8 s, and after a minute it gives up', () => {
    const transfer = open(2000);
    const waits: number[] = [];
    for (let now = transfer.dueAtMs; ; now = transfer.dueAtMs) {
      waits.push(transfer.timeoutMs);
      if (expire(transfer, now) === 'timed-out') {
        break;
      }
      expect([transfer.acked + 1, transfer.sent]).toEqual([1, 1]);
      markSent(transfer, now);
    }
    expect(waits.slice(0, 5)).toEqual([1000, 2000, 4000, 8000, 8000]);
    expect(transfer.dueAtMs).toBeGreaterThanOrEqual(60_000);
    expect(transfer.dueAtMs).toBeLessThan(70_000);
  });
  test('for firmware an ACK sets the wait back to 1 s, however quick the link is', () => {
    const transfer = open(2000);
    expire(transfer, 1000);
    markSent(transfer, 1000);
    expect(transfer.timeoutMs).toBe(2000);
    acknowledge(transfer, 1, 1001);
    expect(transfer.timeoutMs).toBe(1000);
  });
  test("the client's own timeout is kept to", () => {
    const transfer = open(10, [['timeout', '5']], 'tool');
    expect(transfer.timeoutMs).toBe(5000);
    expire(transfer, 5000);
    expect(transfer.timeoutMs).toBe(5000);
    markSent(transfer, 5000);
    acknowledge(transfer, 0, 5001);
    expect(transfer.timeoutMs).toBe(5000);
  });
});

describe('RFC 6298: tools are served from the measured round trip', () => {
  test('the wait falls to 50 ms on a quick link, and follows a slow one', () => {
    const quick = begun(10_000, [['tsize', '0']]);
    acknowledge(quick, 1, 11);
    expect(quick.timeoutMs).toBe(50);
    const slow = open(10_000, [['tsize', '0']], 'tool');
    acknowledge(slow, 0, 200);
    expect(slow.timeoutMs).toBe(600);
  });
  test('a repeated packet measures nothing (Karn)', () => {
    const transfer = begun(10_000, [['tsize', '0']]);
    const before = transfer.smoothedMs;
    expire(transfer, 1000);
    markSent(transfer, 1000);
    acknowledge(transfer, 1, 1001);
    expect(transfer.smoothedMs).toBe(before);
  });
});

describe('RFC 7440 section 4: windows', () => {
  const window: [string, string][] = [['windowsize', '4']];
  test('a window follows each ACK', () => {
    const transfer = begun(10_000, window);
    expect([transfer.acked + 1, transfer.sent]).toEqual([1, 4]);
    expect(acknowledge(transfer, 4, 20)).toBe('send');
    expect([transfer.acked + 1, transfer.sent]).toEqual([5, 8]);
  });
  test('an ACK inside the window begins the next window behind it', () => {
    const transfer = begun(10_000, window);
    expect(acknowledge(transfer, 2, 20)).toBe('send');
    expect([transfer.acked + 1, transfer.sent]).toEqual([3, 6]);
  });
  test('the copies of that ACK begin nothing anew', () => {
    const transfer = begun(10_000, window);
    acknowledge(transfer, 2, 20);
    markSent(transfer, 20);
    expect(acknowledge(transfer, 2, 40)).toBe('wait');
  });
  test('when the first block is lost the window is sent again, once', () => {
    const transfer = begun(10_000, window);
    acknowledge(transfer, 4, 20);
    markSent(transfer, 20);
    expect(acknowledge(transfer, 4, 40)).toBe('send');
    expect([transfer.acked + 1, transfer.sent]).toEqual([5, 8]);
    markSent(transfer, 40);
    expect(acknowledge(transfer, 4, 60)).toBe('wait');
  });
  test('a copy made by the network comes sooner than the round trip and is not answered', () => {
    const transfer = begun(10_000, window);
    acknowledge(transfer, 4, 20);
    markSent(transfer, 20);
    expect(acknowledge(transfer, 4, 21)).toBe('wait');
  });
  test('the last window ends with the file', () => {
    const transfer = begun(512 * 5, window);
    acknowledge(transfer, 4, 20);
    expect([transfer.acked + 1, transfer.sent]).toEqual([5, 6]);
    expect(blockLength(transfer, 6)).toBe(0);
    expect(acknowledge(transfer, 6, 30)).toBe('done');
  });
});

describe('the same request from the same port', () => {
  test('within a second it is a copy, later it is one who did not hear us', () => {
    const transfer = open(2000);
    expect(requestAgain(transfer, 500)).toBe('wait');
    expect(requestAgain(transfer, 2000)).toBe('send');
  });
  test('of a client that had come further: a late copy, or one that was switched off and on', () => {
    const transfer = open(2000);
    acknowledge(transfer, 1, 10);
    expect(requestAgain(transfer, 20)).toBe('wait');
    expect(requestAgain(transfer, 3000)).toBe('restart');
  });
});

test('"Early terminate" on the first packet is a probe', () => {
  const transfer = open(2000, [['tsize', '0']]);
  expect(stoppedBy(transfer, 0, 'Early terminate')).toEqual({ kind: 'stopped', code: 0, message: 'Early terminate', probe: true });
});

test('whatever ACKs come, the window stays inside the file and only moves forward', () => {
  fc.assert(
    fc.property(
      fc.nat(200_000),
      fc.integer({ min: 8, max: 1468 }),
      fc.integer({ min: 1, max: 64 }),
      fc.array(fc.oneof(fc.nat(65_535), fc.nat(70)), { maxLength: 200 }),
      (size, blksize, windowsize, acks) => {
        const transfer = open(size, [
          ['blksize', String(blksize)],
          ['windowsize', String(windowsize)],
        ]);
        let now = 0;
        for (const ack of acks) {
          const before = transfer.acked;
          now += 7;
          const what = acknowledge(transfer, ack, now);
          expect(transfer.acked).toBeGreaterThanOrEqual(before);
          if (what === 'done') {
            expect(transfer.acked).toBe(transfer.blocks);
            return;
          }
          expect(transfer.sent).toBeGreaterThan(transfer.acked);
          expect(transfer.sent - transfer.acked).toBeLessThanOrEqual(windowsize);
          expect(transfer.sent).toBeLessThanOrEqual(transfer.blocks);
          expect(blockLength(transfer, transfer.sent)).toBeGreaterThanOrEqual(0);
          markSent(transfer, now);
        }
      },
    ),
  );
});

describe('RFC 1350 section 1, RFC 764: netascii', () => {
  test.each([
    ['line ends become CR LF', 'a\nb\n', 'a\r\nb\r\n'],
    ['a lone CR becomes CR NUL', 'a\rb', 'a\r\0b'],
    ['CR LF in the file is CR NUL CR LF', 'a\r\n', 'a\r\0\r\n'],
    ['nothing stays nothing', '', ''],
  ])('%s', (_name, text, want) => {
    expect(toNetascii(Buffer.from(text, 'latin1')).toString('latin1')).toBe(want);
  });
});
