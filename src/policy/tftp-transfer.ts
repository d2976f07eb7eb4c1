/**
 * One read transfer as a state machine (RFC 1350 section 6; options RFC 2347-2349; windows RFC 7440). No sockets, no clock:
 * the time is an argument, what to do is the result. The state is changed in place: at 300,000 blocks a second, a new
 * object for each would cost more than all the rest.
 *
 * A second copy of DATA makes start4.elf acknowledge a block too far and hang (raspberrypi/firmware#1631) and confuses older
 * bootcode.bin (#1041). So a lock-step packet is repeated by the timer and by nothing else.
 */
import type { TftpOption } from '../protocol/tftp/packet.ts';

const defaultBlockBytes = 512;
const minBlockBytes = 8;
/** An Ethernet frame without fragments: 1500 - IP 20 - UDP 8 - TFTP 4. Also what Pi firmware asks for. */
const maxBlockBytes = 1468;
/** 94 kB in flight for one client; EDK2 asks for 4. */
const maxWindowBlocks = 64;
const firstTimeoutMs = 1000;
const maxTimeoutMs = 8000;
const giveUpAfterMs = 60_000;
const blockNumbers = 65_536;

/**
 * How soon a lost packet may be repeated. Raspberry Pi firmware hangs when a copy comes within a second; everybody else
 * is served from the measured round trip.
 */
export type Pace = 'firmware' | 'tool';
const floorMs: Readonly<Record<Pace, number>> = { firmware: 1000, tool: 50 };

export interface Transfer {
  readonly size: number;
  readonly blockBytes: number;
  readonly windowBlocks: number;
  /** Blocks of the file; a length that is a multiple of the block size ends with an empty one. */
  readonly blocks: number;
  /** Of the OACK, which counts as block 0. Empty when the client asked none that we know. */
  readonly options: readonly TftpOption[];
  readonly floorMs: number;
  /** The client's timeout option; 0 without one. */
  readonly fixedTimeoutMs: number;
  /** Last block that the client has; -1 before it has the OACK. Not reduced to 16 bits. */
  acked: number;
  /** Last block of the window under way. */
  sent: number;
  sentAtMs: number;
  dueAtMs: number;
  timeoutMs: number;
  lastHeardMs: number;
  /** The window under way holds a packet that was sent before, so its ACK tells nothing about the round trip (Karn). */
  isRepeated: boolean;
  /** Block after which the window was last begun anew for a repeated ACK. */
  rewoundAfter: number;
  /** RFC 6298; -1 before the first measurement. */
  smoothedMs: number;
  variationMs: number;
}

export type TransferOutcome =
  | { readonly kind: 'sent'; readonly bytes: number }
  /** The client stopped on purpose; before the first block is acknowledged this is how firmware probes for a file. */
  | { readonly kind: 'stopped'; readonly code: number; readonly message: string; readonly probe: boolean }
  | { readonly kind: 'timed-out'; readonly block: number }
  /** The client began anew from the same port. */
  | { readonly kind: 'restarted' };

export interface TransferRequest {
  readonly size: number;
  readonly asked: readonly TftpOption[];
  readonly pace: Pace;
  readonly nowMs: number;
}

/** The window under way is the OACK when options were asked that we know, else DATA 1. Send it, then call `markSent`. */
export function openTransfer({ size, asked, pace, nowMs }: TransferRequest): Transfer {
  const { options, blockBytes, windowBlocks, fixedTimeoutMs } = negotiate(size, asked);
  const hasOack = options.length > 0;
  return {
    size,
    blockBytes,
    windowBlocks,
    blocks: Math.floor(size / blockBytes) + 1,
    options,
    floorMs: floorMs[pace],
    fixedTimeoutMs,
    acked: hasOack ? -1 : 0,
    sent: hasOack ? 0 : 1,
    sentAtMs: nowMs,
    dueAtMs: nowMs,
    timeoutMs: fixedTimeoutMs || firstTimeoutMs,
    lastHeardMs: nowMs,
    isRepeated: false,
    rewoundAfter: -2,
    smoothedMs: -1,
    variationMs: 0,
  };
}

/** To be called once the window under way, blocks `acked + 1` to `sent`, was sent. */
export function markSent(transfer: Transfer, nowMs: number): void {
  transfer.sentAtMs = nowMs;
  transfer.dueAtMs = nowMs + transfer.timeoutMs;
}

/** @param block as on the wire, 16 bits */
export function acknowledge(transfer: Transfer, block: number, nowMs: number): 'wait' | 'send' | 'done' {
  const { acked } = transfer;
  const ahead = (block - acked) & (blockNumbers - 1);
  if (ahead === 0) {
    return mayRewind(transfer, nowMs) ? rewind(transfer, nowMs) : 'wait';
  }
  const index = acked + ahead;
  if (index > transfer.sent) {
    return 'wait';
  }
  const hasGap = index < transfer.sent;
  if (!transfer.isRepeated && !hasGap) {
    measure(transfer, nowMs - transfer.sentAtMs);
  }
  transfer.timeoutMs = transfer.fixedTimeoutMs || timeoutFrom(transfer);
  transfer.lastHeardMs = nowMs;
  transfer.acked = index;
  if (index >= transfer.blocks) {
    return 'done';
  }
  transfer.sent = Math.min(index + transfer.windowBlocks, transfer.blocks);
  transfer.isRepeated = hasGap;
  // The blocks behind the gap, still on their way, bring copies of this very ACK.
  transfer.rewoundAfter = hasGap ? index : -2;
  return 'send';
}

/**
 * A repeated ACK says that the first block of the window is lost, unless the network made the copy, which comes too soon
 * for that. One rewind for each window: a client repeats its ACK for every block behind the gap.
 */
function mayRewind(transfer: Transfer, nowMs: number): boolean {
  const { windowBlocks, rewoundAfter, acked, smoothedMs, sentAtMs } = transfer;
  return windowBlocks > 1 && acked > 0 && rewoundAfter !== acked && smoothedMs >= 0 && nowMs - sentAtMs >= smoothedMs;
}

function rewind(transfer: Transfer, nowMs: number): 'send' {
  transfer.rewoundAfter = transfer.acked;
  transfer.isRepeated = true;
  transfer.lastHeardMs = nowMs;
  return 'send';
}

/** The timer has run out: the window once more, with twice the patience. */
export function expire(transfer: Transfer, nowMs: number): 'send' | 'timed-out' {
  if (nowMs - transfer.lastHeardMs >= Math.max(giveUpAfterMs, 3 * transfer.fixedTimeoutMs)) {
    return 'timed-out';
  }
  transfer.timeoutMs = transfer.fixedTimeoutMs || Math.min(transfer.timeoutMs * 2, maxTimeoutMs);
  transfer.isRepeated = true;
  return 'send';
}

/**
 * The client asks for the same file from the same port again. It has not heard us and asks until it does; or the network
 * made a copy of its request; or, when it had come further, it was switched off and on and begins anew.
 */
export function requestAgain(transfer: Transfer, nowMs: number): 'wait' | 'send' | 'restart' {
  if (hasBegun(transfer)) {
    return nowMs - transfer.lastHeardMs >= firstTimeoutMs ? 'restart' : 'wait';
  }
  if (nowMs - transfer.sentAtMs < transfer.floorMs) {
    return 'wait';
  }
  transfer.isRepeated = true;
  transfer.lastHeardMs = nowMs;
  return 'send';
}

export function stoppedBy(transfer: Transfer, code: number, message: string): TransferOutcome {
  return { kind: 'stopped', code, message, probe: !hasBegun(transfer) };
}

/** Has the client more than our first packet? */
function hasBegun(transfer: Transfer): boolean {
  return transfer.acked > 0;
}

/** Where the bytes of a block begin. */
export function blockStart(transfer: Transfer, block: number): number {
  return (block - 1) * transfer.blockBytes;
}

export function blockLength(transfer: Transfer, block: number): number {
  return Math.min(transfer.blockBytes, transfer.size - blockStart(transfer, block));
}

/** Block number on the wire: after 65535 comes 0. */
export function wireBlock(block: number): number {
  return block % blockNumbers;
}

function measure(transfer: Transfer, ms: number): void {
  if (transfer.smoothedMs < 0) {
    transfer.smoothedMs = ms;
    transfer.variationMs = ms / 2;
    return;
  }
  transfer.variationMs += (Math.abs(transfer.smoothedMs - ms) - transfer.variationMs) / 4;
  transfer.smoothedMs += (ms - transfer.smoothedMs) / 8;
}

function timeoutFrom({ smoothedMs, variationMs, floorMs: floor }: Transfer): number {
  return smoothedMs < 0 ? firstTimeoutMs : Math.min(Math.max(smoothedMs + 4 * variationMs, floor), maxTimeoutMs);
}

interface Negotiated {
  readonly options: readonly TftpOption[];
  readonly blockBytes: number;
  readonly windowBlocks: number;
  readonly fixedTimeoutMs: number;
}

/**
 * Answers the options that were asked and that we know, in the client's order and spelling; the others are left out (RFC
 * 2347). EDK2 ends the transfer at an option that it did not ask, or at a larger value.
 */
function negotiate(size: number, asked: readonly TftpOption[]): Negotiated {
  const answers = new Map<string, TftpOption>();
  let blockBytes = defaultBlockBytes;
  let windowBlocks = 1;
  let fixedTimeoutMs = 0;
  for (const { name, value } of asked) {
    const key = name.toLowerCase();
    const number = /^\d{1,9}$/.test(value) ? Number(value) : undefined;
    if (number === undefined || answers.has(key)) {
      continue;
    }
    if (key === 'tsize') {
      answers.set(key, { name, value: String(size) });
    } else if (key === 'blksize' && number >= minBlockBytes) {
      blockBytes = Math.min(number, maxBlockBytes);
      answers.set(key, { name, value: String(blockBytes) });
    } else if (key === 'windowsize' && number >= 1 && number <= 65_535) {
      windowBlocks = Math.min(number, maxWindowBlocks);
      answers.set(key, { name, value: String(windowBlocks) });
    } else if (key === 'timeout' && number >= 1 && number <= 255) {
      fixedTimeoutMs = number * 1000;
      answers.set(key, { name, value });
    }
  }
  return { options: [...answers.values()], blockBytes, windowBlocks, fixedTimeoutMs };
}
