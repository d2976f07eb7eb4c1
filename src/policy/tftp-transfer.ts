/**
 * One read transfer as a state machine (RFC 1350 section 6; options RFC 2347-2349). Pure: sends and timers are effects.
 *
 * Packets are repeated only when the timer fires. A second copy of DATA makes start4.elf acknowledge a block too far
 * and hang (raspberrypi/firmware#1631), and confuses older bootcode.bin (#1041), so a repeated ACK is never answered.
 */
import { TftpErrorCode, type TftpOption, type TftpPacket } from '../protocol/tftp/packet.ts';

const defaultBlockBytes = 512;
const minBlockBytes = 8;
/** An Ethernet frame without fragments: 1500 - IP 20 - UDP 8 - TFTP 4. Also what Pi firmware asks for. */
const maxBlockBytes = 1468;
const firstTimeoutMs = 1000;
const maxTimeoutMs = 8000;
const giveUpAfterMs = 60_000;
const blockNumbers = 65_536;

export interface Transfer {
  readonly bytes: Buffer;
  readonly blockBytes: number;
  /** Options of the OACK; none when the client asked none. */
  readonly options: readonly TftpOption[];
  /** Fixed by the client's timeout option, or undefined for doubling from one second. */
  readonly fixedTimeoutMs: number | undefined;
  /** Index of the block that waits for its ACK, from 1; 0 is the OACK. Not reduced to 16 bits. */
  readonly block: number;
  readonly timeoutMs: number;
  readonly waitedMs: number;
}

export type TransferEvent = { readonly kind: 'packet'; readonly packet: TftpPacket } | { readonly kind: 'timeout' };

export type TransferOutcome =
  | { readonly kind: 'sent'; readonly bytes: number }
  /** The client stopped on purpose; after the first packet this is how Pi firmware probes for a file. */
  | { readonly kind: 'stopped'; readonly code: number; readonly message: string; readonly probe: boolean }
  | { readonly kind: 'timed-out'; readonly block: number };

export type TransferStep =
  | { readonly kind: 'wait' }
  | { readonly kind: 'send'; readonly transfer: Transfer; readonly packet: TftpPacket; readonly timeoutMs: number }
  | { readonly kind: 'end'; readonly outcome: TransferOutcome; readonly packet?: TftpPacket };

/** The first packet: OACK when options were asked that we know, else DATA 1. */
export function startTransfer(bytes: Buffer, asked: readonly TftpOption[]): TransferStep {
  const { options, blockBytes, fixedTimeoutMs } = negotiate(bytes.length, asked);
  const timeoutMs = fixedTimeoutMs ?? firstTimeoutMs;
  const block = options.length > 0 ? 0 : 1;
  return resend({ bytes, blockBytes, options, fixedTimeoutMs, block, timeoutMs, waitedMs: 0 });
}

export function nextTransfer(transfer: Transfer, event: TransferEvent): TransferStep {
  if (event.kind === 'timeout') {
    return onTimeout(transfer);
  }
  const { packet } = event;
  switch (packet.kind) {
    case 'ack':
      return onAck(transfer, packet.block);
    case 'error': {
      const probe = transfer.block <= 1;
      return { kind: 'end', outcome: { kind: 'stopped', code: packet.code, message: packet.message, probe } };
    }
    default:
      return {
        kind: 'end',
        outcome: { kind: 'stopped', code: TftpErrorCode.IllegalOperation, message: `client sent ${packet.kind}`, probe: false },
        packet: { kind: 'error', code: TftpErrorCode.IllegalOperation, message: 'Illegal TFTP operation' },
      };
  }
}

/** The packet that waits for its ACK, once more: for a repeated RRQ from the same port. */
export function resend(transfer: Transfer): TransferStep {
  return { kind: 'send', transfer, packet: currentPacket(transfer), timeoutMs: transfer.timeoutMs };
}

function onAck(transfer: Transfer, block: number): TransferStep {
  if (block !== transfer.block % blockNumbers) {
    return { kind: 'wait' };
  }
  if (transfer.block >= blockCount(transfer)) {
    return { kind: 'end', outcome: { kind: 'sent', bytes: transfer.bytes.length } };
  }
  const timeoutMs = transfer.fixedTimeoutMs ?? firstTimeoutMs;
  return resend({ ...transfer, block: transfer.block + 1, timeoutMs, waitedMs: 0 });
}

function onTimeout(transfer: Transfer): TransferStep {
  const waitedMs = transfer.waitedMs + transfer.timeoutMs;
  if (waitedMs >= giveUpAfterMs) {
    return { kind: 'end', outcome: { kind: 'timed-out', block: transfer.block } };
  }
  const timeoutMs = transfer.fixedTimeoutMs ?? Math.min(transfer.timeoutMs * 2, maxTimeoutMs);
  return resend({ ...transfer, timeoutMs, waitedMs });
}

/** A length that is a multiple of the block size ends with an empty block. */
function blockCount(transfer: Transfer): number {
  return Math.floor(transfer.bytes.length / transfer.blockBytes) + 1;
}

function currentPacket(transfer: Transfer): TftpPacket {
  if (transfer.block === 0) {
    return { kind: 'oack', options: transfer.options };
  }
  const start = (transfer.block - 1) * transfer.blockBytes;
  const data = transfer.bytes.subarray(start, start + transfer.blockBytes);
  return { kind: 'data', block: transfer.block % blockNumbers, data };
}

interface Negotiated {
  readonly options: readonly TftpOption[];
  readonly blockBytes: number;
  readonly fixedTimeoutMs: number | undefined;
}

/** Answers the options that were asked and that we know, in the client's order; the others are left out (RFC 2347). */
function negotiate(size: number, asked: readonly TftpOption[]): Negotiated {
  const options: TftpOption[] = [];
  let blockBytes = defaultBlockBytes;
  let fixedTimeoutMs: number | undefined;
  for (const { name, value } of asked) {
    const number = /^\d{1,9}$/.test(value) ? Number(value) : undefined;
    if (number === undefined || options.some((option) => option.name.toLowerCase() === name.toLowerCase())) {
      continue;
    }
    switch (name.toLowerCase()) {
      case 'blksize':
        if (number >= minBlockBytes) {
          blockBytes = Math.min(number, maxBlockBytes);
          options.push({ name, value: String(blockBytes) });
        }
        break;
      case 'tsize':
        options.push({ name, value: String(size) });
        break;
      case 'timeout':
        if (number >= 1 && number <= 255) {
          fixedTimeoutMs = number * 1000;
          options.push({ name, value });
        }
        break;
      default:
        break;
    }
  }
  return { options, blockBytes, fixedTimeoutMs };
}
