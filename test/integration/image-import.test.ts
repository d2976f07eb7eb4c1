import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { ImageCatalog } from '#src/images/catalog.ts';
import { unpackSource } from '#src/images/import/unpack-source.ts';
import { renderConfigTxt } from '#src/policy/render-config.ts';
import { readConfigTxt } from '#src/sim/config-txt.ts';
import { digestOf, importing, refusal } from '../support/importing.ts';
import {
  bzImage,
  makeDisk,
  must,
  pcRoot,
  pcVersion,
  piBoot,
  piCard,
  piRoot,
  piVersions,
  removeScratch,
  scratch,
  writeTree,
} from '../support/pi-card.ts';

let folder: string;
let card: string;

beforeAll(async () => {
  folder = await scratch('card');
  card = await piCard(folder);
});

afterAll(removeScratch);

describe('a card of Raspberry Pi OS', () => {
  test('becomes an image with a kernel and an initramfs for every model, and the source stays as it is', async () => {
    const before = await digestOf(card);
    const { image, report, state } = await importing(card, { reportOnly: false });
    expect(await digestOf(card)).toBe(before);
    const found = image && (await new ImageCatalog(join(state, 'images')).find(image.digest));
    expect(found).toMatchObject({
      name: 'test',
      arch: 'arm64',
      kernelVersion: piVersions['kernel8.img'],
      kernels: [
        { file: 'kernel8.img', version: piVersions['kernel8.img'], initramfs: 'initramfs.img' },
        { file: 'kernel_2712.img', version: piVersions['kernel_2712.img'], initramfs: 'initramfs_2712' },
      ],
    });
    const paths = found?.files.map(({ path }) => path);
    const wanted = ['initramfs.img', 'initramfs_2712', 'start4.elf', 'fixup4.dat', 'bcm2712-rpi-5-b.dtb', 'overlays/vc4-kms-v3d.dtbo'];
    expect(paths).toEqual(expect.arrayContaining([...wanted.map((name) => `boot/${name}`), 'import-report.json']));
    expect(paths).not.toEqual(expect.arrayContaining(['boot/initramfs8']));
    expect(paths).not.toEqual(expect.arrayContaining(['boot/kernel7.img']));
    expect(JSON.parse(await readFile(join(state, 'images', image?.digest ?? '', 'import-report.json'), 'utf8'))).toEqual(report);
    const text =
      found && renderConfigTxt({ node: parseNodeName('red1'), image: found, server: parseIpv4('10.0.0.1'), httpPort: 80, token: 't' });
    const seen = (...models: string[]): object => readConfigTxt(Buffer.from(text ?? '', 'latin1'), { models, serial: '00000001' });
    const overlays = ['vc4-kms-v3d'];
    expect(seen('pi3', 'pi3+')).toMatchObject({ kernel: 'kernel8.img', initramfs: ['initramfs.img'], overlays });
    expect(seen('pi4')).toMatchObject({ kernel: 'kernel8.img', initramfs: ['initramfs.img'], overlays });
    expect(seen('pi5')).toMatchObject({ kernel: 'kernel_2712.img', initramfs: ['initramfs_2712'], overlays });
    expect(seen('pi5', 'cm5')).toMatchObject({ overlays: ['vc4-kms-v3d', 'dwc2'] });
    expect(Buffer.from(text ?? '').length).toBeLessThan(4096);
  });

  test('the report says what was changed and why, and what was left out', async () => {
    const { report } = await importing(card);
    expect(report).toMatchObject({ system: 'Raspberry Pi OS (test)', source: 'card.img', kind: 'disk image' });
    expect(report.skippedKernels).toEqual([{ file: 'kernel7.img', reason: 'it is too short for a kernel' }]);
    expect(new Set(report.changes.map(({ rule }) => rule))).toEqual(
      new Set([
        ...['disks-in-fstab', 'swap', 'resize', 'first-boot', 'identity', 'host-keys-made-at-boot', 'fsck'],
        ...['network-at-boot', 'eeprom'],
      ]),
    );
    expect(report.kernelArguments.kept).toEqual(['cfg80211.ieee80211_regdom=DE']);
    expect(report.kernelArguments.dropped).toContain('init=/usr/lib/raspberrypi-sys-mods/firstboot');
    expect(report.configTxt).toEqual({
      kept: ['dtparam=audio=on', 'dtoverlay=vc4-kms-v3d', '[cm5]', 'dtoverlay=dwc2,dr_mode=host', '[all]'],
      dropped: ['[tryboot]', 'dtparam=i2c=on', 'os_prefix=new/'],
    });
    expect(report.notes.join()).toMatch(/SSH server is off/);
  });

  test.each([
    ['xz', ['xz', '-0', '-k', '-c']],
    ['gzip', ['gzip', '-1', '-c']],
    ['zstd', ['zstd', '-1', '-c', '-q']],
  ])('packed with %s it comes to the same', async (by, [program = '', ...flags]) => {
    const packed = join(folder, `card.${by}`);
    await must('bash', '-c', '"${@:3}" "$1" >"$2"', 'pack', card, packed, program, ...flags);
    const plain = (await importing(card)).report;
    const { report } = await importing(packed, { sha256: await digestOf(packed) });
    expect(report).toEqual({ ...plain, source: `card.${by}`, kind: `disk image (${by})` });
  });

  test('a journal that was not written back is, on a copy', async () => {
    const dirty = join(folder, 'dirty.img');
    await must('cp', '--sparse=always', card, dirty);
    const start = Number(await must('sfdisk', '-d', dirty).then((text) => /dirty\.img2 : start= *(\d+)/.exec(text)?.[1]));
    await must('debugfs', '-w', '-R', 'feature needs_recovery', `${dirty}?offset=${start * 512}`);
    const before = await digestOf(dirty);
    const { report } = await importing(dirty);
    expect(report.notes.join()).toMatch(/journal of partition 2 was written back/);
    expect(await digestOf(dirty)).toBe(before);
  });

  test.each([
    ['the middle of its root', 50e6, /partition 2 ends at byte \d+, the image at byte 50000000/],
    ['its partition table', 400, /looks like nothing but zeros/],
  ])('cut short in %s it is refused', async (_, bytes, message) => {
    const cut = join(folder, 'cut.img');
    await must('cp', '--sparse=always', card, cut);
    await must('truncate', '-s', String(bytes), cut);
    expect(await refusal(cut)).toMatch(message);
  });
});

describe('what is unpacked', () => {
  const unpack = async (source: string): Promise<string> => {
    const work = await scratch('unpack');
    const isDirectory = (await stat(source)).isDirectory();
    const options = { arch: undefined, work, signal: new AbortController().signal, onProgress: () => {} };
    return (await unpackSource({ path: source, isDirectory, isOurs: false }, options)).tree;
  };
  test.each(['disk', 'tar', 'directory'])('from a %s keeps owners, capabilities, hard links and device nodes', async (kind) => {
    const tar = join(folder, 'root.tar');
    const root = join(folder, 'root');
    await must('tar', '-C', root, '--xattrs', '--xattrs-include=*', '--numeric-owner', '-cf', tar, '.');
    const tree = await unpack({ disk: card, tar, directory: root }[kind] ?? '');
    const [ping, ping4, profile] = await Promise.all(
      ['usr/bin/ping', 'usr/bin/ping4', 'home/pi/.profile'].map((path) => stat(join(tree, path))),
    );
    expect(ping?.ino).toBe(ping4?.ino);
    expect([profile?.uid, profile?.gid]).toEqual([1000, 1000]);
    expect(await must('getcap', join(tree, 'usr/bin/ping'))).toMatch(/cap_net_raw/);
    expect(await must('stat', '-c', '%F %t:%T %a', join(tree, 'null'))).toMatch(/^character special file 1:3 600/);
  });
});

describe('other sources', () => {
  test('a GPT with a btrfs root in the subvolume @', async () => {
    const place = await scratch('btrfs');
    const [root, file] = [join(place, 'root'), join(place, 'root.btrfs')];
    await pcRoot(root);
    await writeFile(file, '');
    await must('truncate', '-s', '120M', file);
    await must('mkfs.btrfs', '-q', file);
    const fill = 'mkdir "$3" && mount -o loop "$1" "$3" && btrfs -q subvolume create "$3/@" && cp -a "$2/." "$3/@/"';
    await must('unshare', '--mount', 'bash', '-c', fill, 'fill', file, root, join(place, 'mount'));
    const { report } = await importing(await makeDisk(join(place, 'pc.img'), 'label: gpt\n', [{ file, type: 'L' }]));
    expect(report).toMatchObject({ arch: 'amd64', kernels: [{ file: 'vmlinuz', version: pcVersion }] });
  });

  test('a GPT with an ext4 root and a /boot of its own', async () => {
    const place = await scratch('boot');
    const root = join(place, 'root');
    await pcRoot(root);
    await must('mv', join(root, 'boot'), join(place, 'boot'));
    await mkdir(join(root, 'boot'));
    await writeTree(root, { 'etc/fstab': 'LABEL=bootpart /boot ext4 defaults 0 2\nUUID=none / ext4 defaults 0 1\n' });
    const [rootFile, bootFile] = [join(place, 'root.ext4'), join(place, 'boot.ext4')];
    await must('mkfs.ext4', '-q', '-F', '-d', root, rootFile, '16M');
    await must('mkfs.ext4', '-q', '-F', '-L', 'bootpart', '-d', join(place, 'boot'), bootFile, '8M');
    const parts = [
      { file: bootFile, type: 'L' },
      { file: rootFile, type: 'L' },
    ];
    const { report } = await importing(await makeDisk(join(place, 'pc.img'), 'label: gpt\n', parts));
    expect(report.kernels).toMatchObject([{ version: pcVersion }]);
    expect(report.notes).toContain('/boot came from partition 1');
  });

  test('a tar, plain and packed, and a directory, with the boot files in /boot/firmware', async () => {
    const place = await scratch('tar');
    const root = join(place, 'root');
    await piRoot(root);
    await piBoot(join(root, 'boot/firmware'));
    const tar = join(place, 'root.tar');
    await must('tar', '-C', root, '-cf', tar, '.');
    await must('xz', '-0', '-k', tar);
    const wanted = (await importing(root)).report.kernels;
    expect(wanted.map(({ file }) => file)).toEqual(['kernel8.img', 'kernel_2712.img']);
    expect((await importing(tar)).report).toMatchObject({ kind: 'tar', kernels: wanted });
    expect((await importing(`${tar}.xz`)).report).toMatchObject({ kind: 'tar (xz)', kernels: wanted });
  });

  test('two kernels: the newer one is taken', async () => {
    const root = await scratch('two');
    await pcRoot(root);
    await must('bash', '-c', 'cd "$1"; cp -r usr/lib/modules/6.12.9-amd64 usr/lib/modules/6.12.10-amd64', 'copy', root);
    await writeTree(root, { 'boot/vmlinuz-6.12.10-amd64': bzImage('6.12.10-amd64') });
    expect((await importing(root)).report.kernels).toEqual([{ file: 'vmlinuz', version: '6.12.10-amd64', initramfs: 'initramfs.img' }]);
  });
});

describe('by HTTP', () => {
  const serve = async (answer: Parameters<typeof createServer>[1]): Promise<{ url: string } & AsyncDisposable> => {
    const server = createServer(answer).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    return { url: `http://127.0.0.1:${port}/os/pc.tar`, [Symbol.asyncDispose]: () => new Promise((done) => server.close(() => done())) };
  };
  const pcTar = async (): Promise<string> => {
    const place = await scratch('web');
    await pcRoot(join(place, 'root'));
    await must('tar', '-C', join(place, 'root'), '-cf', join(place, 'pc.tar'), '.');
    return join(place, 'pc.tar');
  };
  test('with the right checksum it is imported, with a wrong one or none it is not', async () => {
    const tar = await pcTar();
    const bytes = await readFile(tar);
    await using server = await serve((_request, response) => void response.setHeader('connection', 'close').end(bytes));
    const sha256 = await digestOf(tar);
    expect((await importing(server.url, { sha256 })).report).toMatchObject({ source: 'pc.tar', system: 'Test OS' });
    expect(await refusal(server.url, { sha256: 'a'.repeat(64) })).toMatch(/bad-input: .* has another checksum: [0-9a-f]{64} and not a/);
    expect(await refusal(server.url)).toMatch(/only be fetched with its checksum.*\n.*--sha256/);
  });
  test('a connection that ends in the middle, and a missing file', async () => {
    const sha256 = 'a'.repeat(64);
    await using broken = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': 1_000_000, connection: 'close' }).write(Buffer.alloc(1000));
      setImmediate(() => response.destroy());
    });
    expect(await refusal(broken.url, { sha256 })).toMatch(/unavailable: .* cannot be fetched/);
    await using missing = await serve((_request, response) => void response.writeHead(404, { connection: 'close' }).end());
    expect(await refusal(missing.url, { sha256 })).toMatch(/not-found: .* answers 404/);
  });
});
