import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { refusal } from '../support/importing.ts';
import { cardless, ran, until } from '../support/lab-server.ts';
import { dockerSave, layerOf } from '../support/oci-layout.ts';
import { makeDisk, must, pcRoot, piBoot, piRoot, removeScratch, scratch, writeTree } from '../support/pi-card.ts';

let place: string;
let pi: string;
let large: string;

beforeAll(async () => {
  place = await scratch('space');
  [pi, large] = [join(place, 'pi'), join(place, 'large')];
  await piRoot(pi);
  await pcRoot(large);
  await writeTree(large, { 'var/data': Buffer.alloc(40_000_000, 1) });
});

afterAll(removeScratch);

/** Of these 280 MiB, 256 are kept free for others. */
async function refusalOnSmallDisk(source: string): Promise<string> {
  const state = await scratch('small');
  await must('mount', '-t', 'tmpfs', '-o', 'size=280M', 'small', state);
  try {
    return await refusal(source, { state });
  } finally {
    await must('umount', state);
  }
}

test('a source whose size is not known before ends before the disk is full', async () => {
  expect(await refusalOnSmallDisk(large)).toMatch(/no-space: It unpacks to more than what is free/);
});

test('an import ends where the reserve of the store begins, which nodes that run need', async () => {
  const state = await scratch('reserve');
  await must('mount', '-t', 'tmpfs', '-o', 'size=400M', 'reserve', state);
  try {
    const small = join(place, 'small');
    await pcRoot(small);
    const { code, stderr } = await cardless(['--state', state, 'image', 'import', small, '--name', 'small']);
    expect([code, stderr]).toEqual([1, expect.stringContaining('There is no space left: what is free of the store is kept for the nodes')]);
    expect(await readdir(join(state, 'work'))).not.toContain('import-small');
  } finally {
    await until(async () => (await ran('umount', [state])).code === 0, 'the end of the server that the command started');
  }
});

test('a partition beside the root does so as well', async () => {
  const root = join(place, 'root');
  await pcRoot(root);
  await writeTree(root, { 'etc/fstab': 'LABEL=data /var ext4 defaults 0 2\n' });
  const [rootFile, varFile] = [join(place, 'root.ext4'), join(place, 'var.ext4')];
  await must('mkfs.ext4', '-q', '-F', '-d', root, rootFile, '16M');
  await must('mkfs.ext4', '-q', '-F', '-L', 'data', '-d', join(large, 'var'), varFile, '64M');
  const parts = [rootFile, varFile].map((file) => ({ file, type: 'L' }));
  const disk = await makeDisk(join(place, 'pc.img'), 'label: gpt\n', parts);
  expect(await refusalOnSmallDisk(disk)).toMatch(/no-space: It unpacks to more than what is free/);
});

test('a layer of a container image is not begun when there is no space for it', async () => {
  const folder = join(place, 'saved');
  await dockerSave(folder, 'amd64', [await layerOf(large)]);
  expect(await refusalOnSmallDisk(folder)).toMatch(/no-space: Layer .* unpacks to 4\d\.\d MB, and 2\d\.\d MB are free/);
});

test('a file for the firmware that is made of holes', async () => {
  const tree = join(place, 'holes');
  await must('cp', '-a', pi, tree);
  await piBoot(join(tree, 'boot/firmware'));
  await must('truncate', '-s', '300M', join(tree, 'boot/firmware/start4.elf'));
  expect(await refusal(tree)).toMatch(/bad-input: .*too long: with boot\/firmware\/start4\.elf 314\.6 MB together/);
});

test.each(['', 'overlays'])('a FAT whose files are longer together than it is, in /%s', async (folder) => {
  const boot = join(place, `boot-${folder}`);
  await piBoot(boot);
  const names = Array.from({ length: 4 }, (_, at) => `CLAIM${at}`);
  await mkdir(join(boot, folder), { recursive: true });
  await writeTree(join(boot, folder), Object.fromEntries(names.map((name) => [name, 'x'])));
  const [fat, ext] = [join(place, `boot${folder}.fat`), join(place, `root${folder}.ext4`)];
  await writeFile(fat, '');
  await must('truncate', '-s', '16M', fat);
  await must('mkfs.vfat', fat);
  await must('bash', '-c', 'cd "$2" && mcopy -s -i "$1" * ::', 'fill', fat, boot);
  const bytes = await readFile(fat);
  for (const name of names) {
    // A directory entry: the name in 11 bytes, the size at 28.
    bytes.writeUInt32LE(0x7fff_ff00, bytes.indexOf(name.padEnd(11)) + 28);
  }
  await writeFile(fat, bytes);
  await must('mkfs.ext4', '-q', '-F', '-d', pi, ext, '32M');
  const disk = await makeDisk(join(place, `pi${folder}.img`), 'label: dos\n', [
    { file: fat, type: 'c' },
    { file: ext, type: '83' },
  ]);
  expect(await refusal(disk)).toMatch(/bad-input: The files of the boot partition claim 8\.6 GB, and it has 1\d\.\d MB/);
});
