import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { KernelNfs } from '#src/servers/nfs/kernel-nfs.ts';

/** Stands for systemctl and exportfs, which notes what the file says when it is read. */
function machine(isActive: boolean) {
  const folder = mkdtempSync(join(tmpdir(), 'cardless-nfs-'));
  const exportsFile = join(folder, 'exports.d/cardless.exports');
  const startedFile = join(folder, 'state/started');
  const done: string[] = [];
  const run = (file: string, args: readonly string[]): Promise<void> => {
    const words = [file, ...args].join(' ');
    if (args[0] === 'is-active') {
      return isActive ? Promise.resolve() : Promise.reject(new Error('inactive'));
    }
    const text = existsSync(exportsFile) ? readFileSync(exportsFile, 'utf8') : 'none';
    done.push(file === 'exportfs' ? `${words}: ${text.replace(/^# .*\/a, .*\n/, '')}` : words);
    return Promise.resolve();
  };
  return { done, exportsFile, startedFile, nfs: (owner = '/a') => new KernelNfs({ exportsFile, startedFile, owner, run }) };
}

test('a server that nobody had started is started, and stopped again, also by the run after a crash', async () => {
  for (const crashes of [false, true]) {
    const { nfs, done, exportsFile, startedFile } = machine(false);
    const first = nfs();
    await first.start('a\n');
    await first.reload('b\n');
    expect(await (crashes ? nfs() : first).stop()).toBe(true);
    expect(done).toEqual([
      'systemctl start nfs-server.service',
      'exportfs -ra: a\n',
      'exportfs -ra: b\n',
      'exportfs -ra: none',
      'systemctl stop nfs-server.service',
    ]);
    expect([exportsFile, startedFile].map(existsSync)).toEqual([false, false]);
    expect(await nfs().stop()).toBe(false);
  }
});

test('a server of the machine goes on with the exports of others', async () => {
  const { nfs, done } = machine(true);
  const one = nfs();
  await one.start('a\n');
  await one.stop();
  expect(done).toEqual(['exportfs -ra: a\n', 'exportfs -ra: none']);
});

test('a server that the machine has started since is left running', async () => {
  const { nfs, done, startedFile } = machine(false);
  await nfs().start('a\n');
  writeFileSync(startedFile, 'an earlier start');
  await nfs().stop();
  expect(done).not.toContain('systemctl stop nfs-server.service');
  expect(existsSync(startedFile)).toBe(false);
});

test('another server of ours on the same machine has its exports left alone', async () => {
  const { nfs, done, exportsFile } = machine(true);
  await nfs('/a').start('a\n');
  const before = done.length;
  await expect(nfs('/b').start('b\n')).rejects.toThrow(/is that of somebody else: # Written by Cardless, whose state is in \/a,/);
  expect(await nfs('/b').stop()).toBe(false);
  expect(existsSync(exportsFile)).toBe(true);
  expect(done).toHaveLength(before);
});
