import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cardless } from '../support/lab-server.ts';

test('the registry works before any server was started, with --json behind the command too', { timeout: 400_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'cardless-test-'));
  const run = async (...args: string[]): Promise<unknown> => {
    const result = await cardless([...args, '--state', folder, '--json']);
    expect(result.stderr).toBe('');
    expect(result.code).toBe(0);
    return JSON.parse(result.stdout);
  };
  expect(await run('node', 'list')).toEqual([]);
  expect(await run('node', 'add', 'red[5-6]', '--serial', '91cdf03d,91cdf03e', '--ip', '192.168.1.[5-6]')).toMatchObject([
    { name: 'red5', serial: '91cdf03d', address: '192.168.1.5', overlay: 'persistent' },
    { name: 'red6', serial: '91cdf03e', address: '192.168.1.6' },
  ]);
  expect(await run('node', 'set', 'red5', '--overlay', 'ephemeral')).toMatchObject([{ name: 'red5', overlay: 'ephemeral' }]);
  expect(await run('reimage', 'red[5-6]')).toMatchObject([{ reimage: true }, { reimage: true }]);
  expect(await run('node', 'boots', 'red5')).toEqual([]);
  expect(await run('node', 'rm', 'red6')).toMatchObject([{ name: 'red6' }]);
  expect(await run('node', 'list')).toMatchObject([{ name: 'red5', reimage: true, state: 'never booted' }]);
  expect(await run('image', 'list')).toEqual([]);
  expect(await run('node', 'add', 'red7', '--serial', '91cdf03f', '--data', '1G')).toMatchObject([{ dataBytes: 2 ** 30 }]);
  expect(await run('node', 'set', 'red7', '--data', '2G')).toMatchObject([{ dataBytes: 2 ** 31 }]);
  expect(await run('node', 'set', 'red7', '--no-data')).toMatchObject([{ dataBytes: 0, image: 'debian-13' }]);
  expect((await cardless(['--state', folder, 'node', 'set', 'red7', '--data', '1M'])).stderr).toContain('"1M" is not a size of a disk');
  expect((await cardless(['--state', folder, 'node', 'set', 'red7', '--carry', '/home'])).stderr).toContain('It never booted');
  expect(await run('node', 'rm', 'red7')).toMatchObject([{ name: 'red7', dataKept: false }]);
  const again = await cardless(['--state', folder, 'node', 'add', 'red5', '--serial', '00000001']);
  expect(again.stderr).toContain('There is a node "red5" already');
  expect(again.code).toBe(1);
});
