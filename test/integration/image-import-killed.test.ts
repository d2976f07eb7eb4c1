import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findPlaces, projectRoot } from '#src/config/places.ts';
import { requireNothingLeft } from '../support/importing.ts';
import { cardless, ran, until } from '../support/lab-server.ts';
import { makeDisk, must, pcRoot, removeScratch, scratch } from '../support/pi-card.ts';

let disk: string;

/** Large enough that every phase takes a moment. */
beforeAll(async () => {
  const place = await scratch('kill');
  const root = join(place, 'root');
  await pcRoot(root);
  await must('bash', '-c', 'mkdir "$1/data"; for n in $(seq 14); do head -c 4M /dev/urandom | base64 >"$1/data/$n"; done', 'fill', root);
  await must('mkfs.ext4', '-q', '-F', '-d', root, join(place, 'root.ext4'), '110M');
  await must('rm', '-r', root);
  disk = await makeDisk(join(place, 'pc.img'), 'label: dos\n', [{ file: join(place, 'root.ext4'), type: '83' }]);
  await must('gzip', '-1', disk);
  disk = `${disk}.gz`;
});
afterAll(removeScratch);

const env = { CARDLESS_CACHE: findPlaces({ env: process.env }).cache };
/** What is there once each phase has begun. */
const phases = { decompressing: 'unpacked', copying: 'tree/data', packing: 'root.img' } as const;

function start(state: string) {
  const args = [join(projectRoot, 'src/main.ts'), '--state', state, 'image', 'import', disk, '--name', 'killed'];
  return execa(process.execPath, args, { reject: false, stdin: 'ignore', env });
}

async function untilThere(state: string, path: string): Promise<void> {
  const file = join(state, 'work/import-killed', path);
  await until(async () => (await ran('test', ['-e', file])).code === 0, `${path} to be there`, 60_000);
}

describe.each(Object.entries(phases))('while %s', (_, path) => {
  test('killed: no process, mount, loop device or image is left, and the next start empties the work folder', async () => {
    const state = await scratch('killed');
    const cli = start(state);
    await untilThere(state, path);
    process.kill(Number.parseInt(await readFile(join(state, 'lock'), 'utf8'), 10), 'SIGKILL');
    expect((await cli).exitCode).toBe(1);
    await until(
      async () => (await ran('pgrep', ['-f', state])).stdout === '',
      `programs to end: ${(await ran('pgrep', ['-fa', state])).stdout}`,
    );
    expect(await readFile('/proc/mounts', 'utf8')).not.toContain(state);
    await until(
      async () => !(await must('losetup', '--list', '--noheadings', '--output', 'BACK-FILE')).includes(state),
      'loop devices to go',
    );
    expect(JSON.parse((await cardless(['--state', state, 'image', 'list', '--json'])).stdout)).toEqual([]);
    expect(await readdir(join(state, 'work')).catch(() => [])).toEqual([]);
  });
});

test('cancelled with Ctrl-C while copying: it says so and cleans up', async () => {
  const state = await scratch('cancelled');
  const cli = start(state);
  await untilThere(state, phases.copying);
  cli.kill('SIGINT');
  const { exitCode, stderr } = await cli;
  expect(stderr).toMatch(/was cancelled/);
  expect(exitCode).toBe(1);
  expect((await ran('pgrep', ['-f', state])).stdout).toBe('');
  await requireNothingLeft(state);
});
