/**
 * Lines of a boot loader's log that comes as UDP datagrams (NETCONSOLE of Raspberry Pi's bootloader, pi-netboot 2.4).
 * Where a datagram ends says nothing about lines: one may hold several, or a part of one.
 */

export interface ConsoleState {
  /** What came since the last line end. */
  readonly partial: string;
  /** Lines that may still be told; refilled with time. */
  readonly allowance: number;
  readonly refilledAt: number;
  /** Lines that were left out since the last one that was told. */
  readonly dropped: number;
}

export interface ConsoleStep {
  readonly state: ConsoleState;
  readonly lines: readonly string[];
}

/** A bootloader tells some hundred lines in its first second, and then a few for each file. */
const burstLines = 400;
const linesPerSecond = 40;
export const maxLineChars = 240;

export function startConsole(now: number): ConsoleState {
  return { partial: '', allowance: burstLines, refilledAt: now, dropped: 0 };
}

export function feedConsole(state: ConsoleState, data: Buffer, now: number): ConsoleStep {
  const parts = (state.partial + data.toString('latin1')).split(/[\r\n\0]+/);
  // The last part has no line end yet; one that never gets any must not grow.
  const last = parts.pop() ?? '';
  const isLong = last.length >= maxLineChars;
  return tell({ ...state, partial: isLong ? '' : last }, isLong ? [...parts, last] : parts, now);
}

/** Nothing more came: what there is, is a line. */
export function flushConsole(state: ConsoleState, now: number): ConsoleStep {
  return tell({ ...state, partial: '' }, [state.partial], now);
}

function tell(state: ConsoleState, raw: readonly string[], now: number): ConsoleStep {
  const refill = (Math.max(0, now - state.refilledAt) / 1000) * linesPerSecond;
  let allowance = Math.min(burstLines, state.allowance + refill);
  let dropped = state.dropped;
  const lines: string[] = [];
  for (const line of raw.flatMap(printable)) {
    if (allowance < 1) {
      dropped += 1;
      continue;
    }
    allowance -= 1;
    lines.push(...(dropped === 0 ? [] : [`(${dropped} lines left out)`]), line);
    dropped = 0;
  }
  return { state: { partial: state.partial, allowance, refilledAt: now, dropped }, lines };
}

/** Without colours and without what is not ASCII; cut into pieces when too long; nothing for an empty line. */
function printable(raw: string): string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: terminal escapes are what is removed
  const text = raw.replaceAll(/\u001b\[[0-9;?]*[ -/]*[@-~]/g, '').replaceAll(/[^ -~]/g, (char) => (char === '\t' ? ' ' : ''));
  const line = text.trimEnd();
  return line.match(new RegExp(`.{1,${maxLineChars}}`, 'g')) ?? [];
}
