import { execa } from 'execa';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { collate, PrefixedLines } from '#src/cli/ssh/lines.ts';
import { commandLine, remoteCommand } from '#src/cli/ssh/remote-command.ts';
import { failureLines, runOnNodes, worstOf } from '#src/cli/ssh/run-on-nodes.ts';
import { readCopy } from '#src/cli/ssh-command.ts';
import { parseDuration } from '#src/domain/duration.ts';
import { streamChild } from '#src/process/stream-child.ts';
import { until } from '../../support/lab-server.ts';

describe('prefixed lines', () => {
  const cut = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 });
  test('have every byte, however the output is cut', () => {
    fc.assert(
      fc.property(cut, (pieces) => {
        const lines = new PrefixedLines('n: ');
        const all = Buffer.concat([...pieces.map((piece) => lines.add(Buffer.from(piece))), lines.end()]).toString('latin1');
        const given = Buffer.concat(pieces.map((piece) => Buffer.from(piece))).toString('latin1');
        const whole = given === '' || given.endsWith('\n') ? given : `${given}\n`;
        expect(all).toBe(
          whole
            .split('\n')
            .slice(0, -1)
            .map((line) => `n: ${line}\n`)
            .join(''),
        );
      }),
    );
  });

  test('a line without end is told in parts, and kept no longer', () => {
    const lines = new PrefixedLines('n: ');
    const parts = Array.from({ length: 40 }, () => lines.add(Buffer.alloc(100_000, 'x')).length);
    expect(parts.filter((length) => length > 0)).toEqual([1_100_004, 1_100_004, 1_100_004]);
  });
});

test('equal outputs stand once, the most frequent first, and no two different ones together', () => {
  const node = (name: string, output: string): { name: string; output: Buffer } => ({ name, output: Buffer.from(output) });
  expect(collate([node('a', 'x\n'), node('red1', 'y'), node('red2', 'y'), node('b', '')]).toString()).toBe(
    '------------\nred[1-2] (2)\n------------\ny\n-----\na (1)\n-----\nx\n-----\nb (1)\n-----\n',
  );
  const bytes = [Buffer.from([0xff]), Buffer.from([0xfe])].map((output, index) => ({ name: `n${index}`, output }));
  expect(collate(bytes).toString('latin1')).toContain('n0 (1)');
});

describe('remote commands', () => {
  test('one word is for the shell; several are what they are', () => {
    expect(commandLine(['ls | wc'])).toBe('ls | wc');
    expect(commandLine(['ls', 'a b', "it's", ''])).toBe(`ls 'a b' 'it'\\''s' ''`);
  });

  test.each([['sh'], ['bash']])('arrive through %s whatever they are', async (shell) => {
    const words = ['printf', '%s\\n', 'a  b', "it's", '$(id)', '*', 'new\nline', '!', '\\', '"', ''];
    const { stdout } = await execa(shell, ['-c', remoteCommand(words)], { stdin: 'pipe' });
    expect(stdout).toBe(['a  b', "it's", '$(id)', '*', 'new\nline', '!', '\\', '"', ''].join('\n'));
    const result = await execa(shell, ['-c', remoteCommand(['cat; exit 9'])], { reject: false, stdin: 'pipe' });
    expect(result.exitCode).toBe(9);
  });

  test('end with all that they started when their stdin ends', async () => {
    const child = execa('setsid', ['--wait', 'sh', '-c', remoteCommand(['sleep 87654 & echo $$; sleep 87654'])], {
      reject: false,
      stdin: 'pipe',
    });
    const pid = await new Promise<string>((resolve) => child.stdout.once('data', (bytes) => resolve(String(bytes).trim())));
    const group = (await execa('ps', ['-o', 'pgid=', '-p', pid])).stdout.trim();
    child.stdin.end();
    await child;
    await until(async () => (await execa('pgrep', ['-g', group], { reject: false })).stdout === '', 'the group to be gone');
  });
});

test('outcomes are told by what they are, and the worst one counts', () => {
  const runs = [
    { name: 'red1', outcome: { kind: 'exited', exitCode: 0 } },
    { name: 'red2', outcome: { kind: 'exited', exitCode: 3 } },
    { name: 'red3', outcome: { kind: 'timed-out' } },
    { name: 'red4', outcome: { kind: 'exited', exitCode: 3 } },
  ] as const;
  expect(failureLines(runs)).toEqual(['red[2,4]: exit code 3', 'red3: timed out']);
  expect(worstOf(runs)).toBe(124);
  expect(worstOf(runs.slice(0, 1))).toBe(0);
});

test('a program that is not there, and one that goes on after it was asked to end', async () => {
  const signal = new AbortController().signal;
  const quiet = { onStdout: () => Promise.resolve(), onStderr: () => Promise.resolve() };
  expect(await streamChild('/nowhere/x', [], { ...quiet, signal })).toMatchObject({ kind: 'spawn-failed' });
  expect(await streamChild('sh', ['-c', "trap '' TERM; while :; do sleep 0.1; done"], { ...quiet, signal, timeoutMs: 100 })).toEqual({
    kind: 'timed-out',
  });
  expect(await streamChild('sh', ['-c', 'kill -9 $$'], { ...quiet, signal })).toEqual({ kind: 'signalled', signal: 'SIGKILL' });
  expect(await streamChild('true', [], { ...quiet, signal: AbortSignal.abort() })).toEqual({ kind: 'cancelled' });
});

test('copies name their nodes before the colon', () => {
  expect(readCopy(['a', './b:c', 'red[1-2]:/etc/'])).toEqual({
    nodes: 'red[1-2]',
    direction: 'to',
    remote: ['/etc/'],
    local: ['a', './b:c'],
  });
  expect(readCopy(['@all:/x', '@all:', 'to'])).toEqual({ nodes: '@all', direction: 'from', remote: ['/x', '.'], local: ['to'] });
  expect(() => readCopy(['a', 'b'])).toThrow('No nodes are named');
  expect(() => readCopy(['red1:/a', 'red2:/b'])).toThrow('not from node to node');
  expect(() => readCopy(['red1:/a', 'red2:/b', 'to'])).toThrow('the same nodes');
  expect(() => readCopy(['red1:/a'])).toThrow('What is to be copied where?');
});

test('times', () => {
  expect(['10', '500ms', '1.5s', '2m', '1h'].map(parseDuration)).toEqual([10_000, 500, 1500, 120_000, 3_600_000]);
  for (const text of ['', 'x', '-1', '10 d', '999999h']) {
    expect(() => parseDuration(text), text).toThrow('is not a time');
  }
});

test('a node without an address is not asked, and counts as one that cannot be reached', async () => {
  const asked: string[] = [];
  const runs = await runOnNodes({
    nodes: ['red1', 'red2', 'red3'],
    unfound: ['red1', 'red2'],
    jobs: 4,
    signal: new AbortController().signal,
    command: (node) => {
      asked.push(node);
      return ['true', []];
    },
    onOutput: () => Promise.resolve(),
  });
  expect(asked).toEqual(['red3']);
  expect([failureLines(runs), worstOf(runs)]).toEqual([['red[1-2]: no address is known yet'], 255]);
});
