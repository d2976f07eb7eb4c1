/** Root on a node writes what it likes to its disk; whatever that is, this machine's own files are not touched or published. */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { mountLayers } from '#src/images/commit/layers.ts';
import { run } from '#src/process/run.ts';
import { commitStage, prepareStage, type Stage } from '../support/commit-stage.ts';
import { onDisk } from '../support/disk-house.ts';

let stage: Stage;
let victim: string;
beforeAll(async () => {
  stage = await prepareStage('erofs', async (root) => {
    await writeFile(join(root, 'etc/hostname'), 'red5\n');
    await writeFile(join(root, 'etc/edited'), 'on the node\n');
  });
  // Stands for the root of this machine.
  victim = join(stage.folder, 'victim');
  await mkdir(join(victim, 'etc'), { recursive: true });
  await writeFile(join(victim, 'etc/hostname'), 'the server\n');
});
afterAll(async () => {
  await rm(stage.folder, { recursive: true, force: true });
});

/** A copy of the node's disk that a script has worked on, in its folder `upper`. */
async function diskWith(script: string): Promise<string> {
  const disk = join(stage.folder, 'hostile.img');
  await run('cp', ['--sparse=always', stage.disk, disk]);
  await onDisk(disk, script);
  return disk;
}

async function untouched(): Promise<void> {
  expect(await readFile(join(victim, 'etc/hostname'), 'utf8')).toBe('the server\n');
  expect(await readdir(stage.images)).toEqual([stage.image.digest]);
  expect(await readdir(join(stage.folder, 'work'))).toEqual([]);
}

test.each([
  ['a link to the root', 'upper', 'ln -s VICTIM'],
  ['a file', 'upper', 'touch'],
  ['a link', 'work', 'ln -s VICTIM'],
])('%s in the place of a folder of the disk (%#) is refused', async (_what, name, make) => {
  const disk = await diskWith(`cd ..; mv ${name} was-${name}; ${make.replace('VICTIM', victim)} ${name}`);
  for (const dryRun of [true, false]) {
    await expect(commitStage(stage, { disk, dryRun })).rejects.toMatchObject({
      code: 'bad-input',
      message: `/${name} of the overlay is not a folder`,
    });
  }
  await untouched();
});

test('a link in the place of a folder of the image is committed as a link and never followed', async () => {
  const disk = await diskWith(`rm -r etc; ln -s ${join(victim, 'etc')} etc`);
  const { changes, leftOut } = await commitStage(stage, { disk, dryRun: true });
  expect(changes).toMatchObject([{ path: '/etc', change: 'changed', type: 'symlink', before: 'directory' }]);
  expect(leftOut).toEqual([]);
  await untouched();
});

test('a disk that asks for a panic of the kernel on errors is mounted without it', async () => {
  const disk = await diskWith('true');
  await run('tune2fs', ['-e', 'panic', disk]);
  const work = join(stage.folder, 'layers');
  const root = join(stage.images, stage.image.digest, 'root.img');
  try {
    await mountLayers({ root, rootFormat: 'erofs', disk, work, signal: new AbortController().signal });
    const line = (await readFile('/proc/mounts', 'utf8')).split('\n').find((text) => text.includes(`${work}/disk `));
    expect(line?.split(' ')[3]?.split(',')).toEqual(expect.arrayContaining(['errors=remount-ro', 'nodev', 'nosuid', 'noexec']));
  } finally {
    await run('sh', ['-c', 'umount "$1/disk" "$1/base"', 'sh', work]);
  }
});

const modules = (version: string) => `usr/lib/modules/${version}`;
const lists = 'for name in dep builtin builtin.modinfo order; do : >"$at/modules.$name"; done';

test.each([
  ['a module that is a link', 'echo kernel/nbd.ko: >"$at/modules.dep"; mkdir "$at/kernel"; ln -s SECRET "$at/kernel/nbd.ko"', /nbd\.ko/],
  ['a folder of modules that is a link', 'echo kernel/nbd.ko: >"$at/modules.dep"; ln -s VICTIM "$at/kernel"', /nbd\.ko/],
  ['a list with a name outside', 'echo "kernel/nbd.ko: ../../../../victim/secret" >"$at/modules.dep"', /names files outside of its folder/],
])("%s does not bring this machine's files into the initramfs", async (_what, script, message) => {
  await writeFile(join(victim, 'nbd.ko'), 'secret');
  const words = script.replace('SECRET', join(victim, 'nbd.ko')).replace('VICTIM', victim);
  const disk = await diskWith(`at=${modules(stage.image.kernelVersion)}; mkdir -p "$at"; ${words}`);
  await expect(commitStage(stage, { disk })).rejects.toThrow(message);
  await untouched();
});

test('a new kernel that is a link is looked for in the root of the node', async () => {
  const version = '6.1.1-test-amd64';
  const make = (target: string) =>
    diskWith(`at=${modules(version)}; mkdir -p "$at" boot; ${lists}; echo inner >"$at/vmlinuz"; ln -s ${target} boot/vmlinuz-${version}`);
  await expect(commitStage(stage, { disk: await make(join(victim, 'etc/hostname')) })).rejects.toMatchObject({
    code: 'bad-input',
    message: expect.stringContaining('leads to none in its root'),
  });
  await untouched();
  const { digest = '' } = await commitStage(stage, { disk: await make(`/${modules(version)}/vmlinuz`) });
  expect(await readFile(join(stage.images, digest, 'boot/vmlinuz'), 'utf8')).toBe('inner\n');
});
