import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ConsoleState, feedConsole, flushConsole, maxLineChars, startConsole } from '#src/policy/console-lines.ts';

function run(chunks: readonly Buffer[], now = 0): { readonly lines: string[]; readonly state: ConsoleState } {
  let state = startConsole(now);
  const lines: string[] = [];
  for (const chunk of chunks) {
    const step = feedConsole(state, chunk, now);
    lines.push(...step.lines);
    state = step.state;
  }
  const last = flushConsole(state, now);
  return { lines: [...lines, ...last.lines], state: last.state };
}

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [0, ...at.map((place) => place % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end));
}

describe('lines of a boot loader', () => {
  test.each([
    [
      'a line a datagram',
      ['Boot mode: NETWORK (02) order f4\r\n', 'GENET: RESET_PHY\r\n'],
      ['Boot mode: NETWORK (02) order f4', 'GENET: RESET_PHY'],
    ],
    ['CR and LF in two datagrams', ['NET_BOOT\r', '\nDHCP src\n'], ['NET_BOOT', 'DHCP src']],
    ['fragments', ['TFTP: ', 'complete', ' 1234\n'], ['TFTP: complete 1234']],
    ['no line end at all', ['waiting...'], ['waiting...']],
    ['colours, bells and NUL', ['\u001b[1;31mERROR\u001b[0m\u0007: x\0y\n'], ['ERROR: x', 'y']],
    ['tabs and bytes beyond ASCII', ['a\tb\u00e9c\n'], ['a bc']],
    ['empty ones', ['\n\r\n \n'], []],
  ])('%s', (_name, chunks, lines) => {
    expect(run(chunks.map((text) => Buffer.from(text, 'latin1'))).lines).toEqual(lines);
  });

  test('where datagrams end makes no difference', () => {
    const text = fc.array(fc.string({ unit: fc.constantFrom('a', 'B', ' ', '7', ':'), minLength: 1, maxLength: 60 }), { maxLength: 100 });
    fc.assert(
      fc.property(text, fc.constantFrom('\n', '\r\n', '\r'), fc.array(fc.nat(), { maxLength: 40 }), (lines, end, at) => {
        const bytes = Buffer.from(lines.map((line) => line + end).join(''));
        expect(run(cut(bytes, at)).lines).toEqual(lines.map((line) => line.trimEnd()).filter((line) => line !== ''));
      }),
    );
  });

  test('whatever comes: short lines of printable ASCII, and a state that does not grow', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 2000 }), { maxLength: 30 }), (chunks) => {
        let state = startConsole(0);
        for (const chunk of chunks) {
          const step = feedConsole(state, Buffer.from(chunk), 0);
          state = step.state;
          expect(state.partial.length).toBeLessThan(maxLineChars);
          for (const line of step.lines) {
            expect(line).toMatch(/^[ -~]+$/);
            expect(line.length).toBeLessThanOrEqual(maxLineChars);
          }
        }
      }),
    );
  });

  test('a flood is cut, said to be cut, and forgiven with time', () => {
    const flood = Buffer.from('x\n'.repeat(1000));
    const first = feedConsole(startConsole(0), flood, 0);
    expect(first.lines).toHaveLength(400);
    const later = feedConsole(first.state, Buffer.from('after\n'), 1000);
    expect(later.lines).toEqual(['(600 lines left out)', 'after']);
    expect(feedConsole(later.state, flood, 3_600_000).lines).toHaveLength(400);
  });
});
