import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { lockPath } from '#src/process/path-lock.ts';

const newFolder = async (): Promise<string> => await mkdtemp(join(tmpdir(), 'cardless-lock-'));
const shared = { kind: 'shared', wait: false } as const;
const exclusive = { kind: 'exclusive', wait: false } as const;

describe('a lock on a folder', () => {
  test('is had by several, or by one alone, until it is given back', async () => {
    const folder = await newFolder();
    const [one, two] = [await lockPath(folder, shared), await lockPath(folder, shared)];
    expect(await lockPath(folder, exclusive)).toBeUndefined();
    await one?.[Symbol.asyncDispose]();
    expect(await lockPath(folder, exclusive)).toBeUndefined();
    await two?.[Symbol.asyncDispose]();
    await using alone = await lockPath(folder, exclusive);
    expect(alone).toBeDefined();
    expect(await lockPath(folder, shared)).toBeUndefined();
  });

  test('of another process ends with that process', async () => {
    const folder = await newFolder();
    // It has the lock when it answers.
    const other = execa('flock', ['--shared', folder, 'cat'], { reject: false });
    other.stdin.write('x');
    await new Promise((resolve) => other.stdout.once('data', resolve));
    expect(await lockPath(folder, exclusive)).toBeUndefined();
    const waiting = lockPath(folder, { kind: 'exclusive', wait: true });
    other.stdin.end();
    await using alone = await waiting;
    expect(alone).toBeDefined();
  });

  test('is none where nothing is, or where something else is by the time that it is our turn', async () => {
    const folder = join(await newFolder(), 'locked');
    expect(await lockPath(folder, shared)).toBeUndefined();
    await mkdir(folder);
    const first = await lockPath(folder, exclusive);
    const waiting = lockPath(folder, { kind: 'shared', wait: true });
    await rename(folder, `${folder}.away`);
    await mkdir(folder);
    await first?.[Symbol.asyncDispose]();
    expect(await waiting).toBeUndefined();
    await rm(folder, { recursive: true });
  });

  test('is not waited for any more when that is cancelled', async () => {
    const folder = await newFolder();
    await using first = await lockPath(folder, exclusive);
    expect(first).toBeDefined();
    const control = new AbortController();
    const waiting = lockPath(folder, { kind: 'shared', wait: true, signal: control.signal });
    control.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
  });
});
