import { chmod, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { checkSettings } from '#src/config/load.ts';
import { ExportFiles } from '#src/daemon/fleet/export-files.ts';
import { UserError } from '#src/domain/errors.ts';
import { replaceFile } from '#src/process/replace-file.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { until } from '../../support/lab-server.ts';

async function start(entries: readonly object[]) {
  const folder = await mkdtemp(join(tmpdir(), 'cardless-export-'));
  const warnings: string[] = [];
  const stream = { write: (line: string) => void warnings.push(line) };
  const wanted = checkSettings(
    { exports: entries.map((entry) => ('file' in entry ? { ...entry, file: join(folder, String(entry.file)) } : entry)) },
    'test',
  ).exports;
  const clock = new FakeClock();
  let state = 'one';
  const files = new ExportFiles({
    wanted,
    clock,
    log: pino({ level: 'warn' }, stream),
    exports: {
      formats: () => [],
      render: (format, { nodes = '@all' }) => {
        if (state === 'broken') {
          throw new UserError('not-found', 'There is no group "workers"');
        }
        return Promise.resolve({ text: `${format} ${nodes} ${state}\n`, mediaType: 'text/plain' });
      },
    },
  });
  const has = async (name: string, text: string): Promise<void> => {
    const read = (): Promise<string> => readFile(join(folder, name), 'utf8').catch(() => '');
    await until(async () => {
      await clock.run(() => false, 20_000);
      return (await read()) === text;
    }, `${name} to have ${text}`);
  };
  const become = (next: string): void => {
    state = next;
  };
  return { folder, files, clock, warnings, has, become };
}

test('files are there from the start, follow changes, and what nodes say by themselves a little later', async () => {
  const { folder, files, has, become, warnings } = await start([
    { format: 'hosts', file: 'hosts' },
    { format: 'mpi', file: 'machines', nodes: '@workers' },
  ]);
  files.start();
  await has('hosts', 'hosts @all one\n');
  await has('machines', 'mpi @workers one\n');
  become('two');
  files.touch();
  await has('hosts', 'hosts @all two\n');
  become('three');
  await has('machines', 'mpi @workers three\n');
  become('four');
  files.touch();
  await files[Symbol.asyncDispose]();
  expect(await readFile(join(folder, 'hosts'), 'utf8')).toBe('hosts @all four\n');
  expect((await readdir(folder)).toSorted()).toEqual(['hosts', 'machines']);
  expect(warnings).toEqual([]);
});

test('what cannot be written is said once, and the old file stays', async () => {
  const { files, clock, has, become, warnings } = await start([{ format: 'hosts', file: 'hosts' }]);
  files.start();
  await has('hosts', 'hosts @all one\n');
  become('broken');
  files.touch();
  await until(async () => {
    await clock.run(() => false, 20_000);
    return warnings.length > 0 && clock.now() > 60_000;
  }, 'several attempts');
  await files[Symbol.asyncDispose]();
  expect(warnings.map((line) => JSON.parse(line).reason)).toEqual(['There is no group "workers"']);
  await has('hosts', 'hosts @all one\n');
});

test('nobody gets by HTTP what the settings do not say', async () => {
  const { files } = await start([
    { format: 'prometheus', http: true },
    { format: 'hosts', file: 'hosts' },
  ]);
  expect(await files.published('prometheus')).toMatchObject({ text: 'prometheus @all one\n' });
  await expect(files.published('hosts')).rejects.toThrow('no such export');
  expect(() => checkSettings({ exports: [{ format: 'hosts' }] }, 'test')).toThrow('needs a file, or http: true');
  expect(() => checkSettings({ exports: [{ format: 'host', file: '/x' }] }, 'test')).toThrow('did you mean hosts?');
  await files[Symbol.asyncDispose]();
});

test('a file is replaced in one step, where links lead, with the mode it had; a device is written to', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'cardless-replace-'));
  const [file, link] = [join(folder, 'file'), join(folder, 'link')];
  expect(await replaceFile(file, 'one', 0o640)).toBe(true);
  expect((await stat(file)).mode & 0o777).toBe(0o640);
  await chmod(file, 0o604);
  await symlink(file, link);
  const before = (await stat(file)).ino;
  expect(await replaceFile(link, 'two', 0o640)).toBe(true);
  const after = await stat(file);
  expect([after.mode & 0o777, after.ino === before]).toEqual([0o604, false]);
  expect(await replaceFile(link, 'two', 0o640)).toBe(false);
  expect((await stat(file)).ino).toBe(after.ino);
  expect(await replaceFile('/dev/null', 'x', 0o644)).toBe(true);
  expect((await stat('/dev/null')).isCharacterDevice()).toBe(true);
  await writeFile(join(folder, 'folder'), '');
  await expect(replaceFile(join(folder, 'nothing/file'), 'x', 0o644)).rejects.toThrow(/ENOENT/);
  expect((await readdir(folder)).toSorted()).toEqual(['file', 'folder', 'link']);
  await rm(folder, { recursive: true });
});
