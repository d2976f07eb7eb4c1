import { describe, expect, test } from 'vitest';
import { nextTransfer, resend, startTransfer, type Transfer, type TransferStep } from '#src/policy/tftp-transfer.ts';

const file = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, index) => index % 251));
const send = (step: TransferStep): Extract<TransferStep, { kind: 'send' }> => {
  if (step.kind !== 'send') {
    throw new Error(`expected a packet, got ${JSON.stringify(step)}`);
  }
  return step;
};
const acked = (transfer: Transfer, block: number): TransferStep =>
  nextTransfer(transfer, { kind: 'packet', packet: { kind: 'ack', block } });

/** All packets of a transfer whose client acknowledges everything at once. */
function play(length: number, options: readonly { name: string; value: string }[]): { blocks: number; bytes: Buffer; end: TransferStep } {
  const received: Buffer[] = [];
  let step = startTransfer(file(length), options);
  let blocks = 0;
  while (step.kind === 'send') {
    const { packet, transfer } = step;
    if (packet.kind === 'data') {
      received.push(packet.data);
      blocks += 1;
    }
    step = acked(transfer, packet.kind === 'data' ? packet.block : 0);
  }
  return { blocks, bytes: Buffer.concat(received), end: step };
}

describe('RFC 1350 section 6: normal termination', () => {
  test.each([0, 1, 511, 512, 513, 1024, 100_000])('%i bytes arrive, and the last block is short', (length) => {
    const { blocks, bytes, end } = play(length, []);
    expect(bytes.equals(file(length))).toBe(true);
    expect(blocks).toBe(Math.floor(length / 512) + 1);
    expect(end).toEqual({ kind: 'end', outcome: { kind: 'sent', bytes: length } });
  });
});

describe('RFC 2347 to 2349: options', () => {
  const options = (asked: [string, string][]): unknown => {
    const { packet } = send(
      startTransfer(
        file(1000),
        asked.map(([name, value]) => ({ name, value })),
      ),
    );
    return packet.kind === 'oack' ? packet.options.map(({ name, value }) => `${name}=${value}`) : packet.kind;
  };
  test.each<[string, [string, string][], unknown]>([
    ['none asked: DATA at once', [], 'data'],
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
    ['blksize below 8 is not answered', [['blksize', '7']], 'data'],
    ['timeout is echoed', [['timeout', '3']], ['timeout=3']],
    ['timeout 0 is not answered', [['timeout', '0']], 'data'],
    [
      'unknown options are left out',
      [
        ['windowsize', '16'],
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
      'data',
    ],
    [
      'asked twice is answered once',
      [
        ['tsize', '0'],
        ['tsize', '0'],
      ],
      ['tsize=1000'],
    ],
  ])('%s', (_name, asked, want) => {
    expect(options(asked)).toEqual(want);
  });
  test('an OACK is followed by DATA 1 once block 0 is acknowledged', () => {
    const first = send(startTransfer(file(10), [{ name: 'tsize', value: '0' }]));
    expect(send(acked(first.transfer, 0)).packet).toMatchObject({ kind: 'data', block: 1 });
  });
});

describe('block numbers', () => {
  test('roll over to 0 after 65535', () => {
    const { bytes } = play(65_540 * 8, [{ name: 'blksize', value: '8' }]);
    expect(bytes.length).toBe(65_540 * 8);
    expect(bytes.equals(file(65_540 * 8))).toBe(true);
  });
});

describe('a packet is repeated by the timer and by nothing else', () => {
  const first = send(startTransfer(file(2000), []));
  test('an ACK that came before is not answered', () => {
    const second = send(acked(first.transfer, 1));
    expect(acked(second.transfer, 1)).toEqual({ kind: 'wait' });
  });
  test('an ACK for a block that was not sent is not answered', () => {
    expect(acked(first.transfer, 2)).toEqual({ kind: 'wait' });
  });
  test('the waits double from 1 s to 8 s, and after a minute it gives up', () => {
    const waits: number[] = [first.timeoutMs];
    let step = nextTransfer(first.transfer, { kind: 'timeout' });
    while (step.kind === 'send') {
      expect(step.packet).toEqual(first.packet);
      waits.push(step.timeoutMs);
      step = nextTransfer(step.transfer, { kind: 'timeout' });
    }
    expect(waits.slice(0, 5)).toEqual([1000, 2000, 4000, 8000, 8000]);
    expect(step).toEqual({ kind: 'end', outcome: { kind: 'timed-out', block: 1 } });
    expect(waits.reduce((sum, ms) => sum + ms, 0)).toBeGreaterThanOrEqual(60_000);
  });
  test('an ACK sets the wait back to 1 s', () => {
    const late = send(nextTransfer(first.transfer, { kind: 'timeout' }));
    expect(late.timeoutMs).toBe(2000);
    expect(send(acked(late.transfer, 1)).timeoutMs).toBe(1000);
  });
  test("the client's own timeout is kept to", () => {
    const slow = send(startTransfer(file(10), [{ name: 'timeout', value: '5' }]));
    expect(slow.timeoutMs).toBe(5000);
    expect(send(nextTransfer(slow.transfer, { kind: 'timeout' })).timeoutMs).toBe(5000);
  });
  test('a repeated request gets the packet that is under way', () => {
    const second = send(acked(first.transfer, 1));
    expect(send(resend(second.transfer)).packet).toEqual(second.packet);
  });
});

describe('the client ends it', () => {
  test('"Early terminate" on the first packet is a probe', () => {
    const first = send(startTransfer(file(2000), [{ name: 'tsize', value: '0' }]));
    const end = nextTransfer(first.transfer, { kind: 'packet', packet: { kind: 'error', code: 0, message: 'Early terminate' } });
    expect(end).toEqual({ kind: 'end', outcome: { kind: 'stopped', code: 0, message: 'Early terminate', probe: true } });
  });
  test('DATA from a reader is an illegal operation', () => {
    const first = send(startTransfer(file(10), []));
    const end = nextTransfer(first.transfer, { kind: 'packet', packet: { kind: 'data', block: 1, data: Buffer.alloc(1) } });
    expect(end).toMatchObject({ kind: 'end', packet: { kind: 'error', code: 4 } });
  });
});
