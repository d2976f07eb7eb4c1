import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withJournalElsewhere, withJournalThatNamesDevice } from '../support/bad-disks.ts';
import { digestOf, importing, refusal } from '../support/importing.ts';
import { dockerSave, layer, layerOf, ociLayout } from '../support/oci-layout.ts';
import { arm64Kernel, bzImage, must, pcRoot, pcVersion, piBoot, piRoot, removeScratch, scratch, writeTree } from '../support/pi-card.ts';

let place: string;
let root: string;

beforeAll(async () => {
  place = await scratch('bad');
  root = join(place, 'root');
  await pcRoot(root);
});

afterAll(removeScratch);

async function put(name: string, bytes: string | Buffer): Promise<string> {
  await writeFile(join(place, name), bytes);
  return join(place, name);
}

describe('a source that is none', () => {
  test.each([
    ['an empty file', '', /looks like an empty file/],
    ['a text', 'hello\n'.repeat(1000), /looks like none of them/],
    ['a web page', '<!DOCTYPE html><html>', /looks like a web page; look at the address/],
    ['a ZIP', 'PK\x03\x04', /a ZIP archive; unpack it first/],
    [
      'a boot sector without partitions',
      Buffer.concat([Buffer.alloc(510), Buffer.from([0x55, 0xaa]), Buffer.alloc(4096)]),
      /it has no partitions/,
    ],
    [
      'a boot sector with nonsense in it',
      Buffer.concat([Buffer.alloc(510, 7), Buffer.from([0x55, 0xaa])]),
      /no partition table that can be used: status 7/,
    ],
  ])('%s', async (_, bytes, message) => {
    expect(await refusal(await put('source', bytes))).toMatch(message);
  });
  test('a file that is not there, a wrong checksum, an URL of another kind', async () => {
    expect(await refusal('/nowhere/x.img')).toMatch(/not-found: \/nowhere\/x\.img cannot be read/);
    expect(await refusal(await put('a', 'b'), { sha256: '0'.repeat(64) })).toMatch(/has another checksum/);
    expect(await refusal(await put('a', 'b'), { sha256: 'xyz' })).toMatch(/"xyz" is not a SHA-256/);
    expect(await refusal('ftp://example.org/x.img')).toMatch(/only https:\/\/ and http:\/\//);
    expect(await refusal('/dev/null')).toMatch(/neither a file nor a directory/);
  });
});

describe('a system that no board can boot', () => {
  const changed = async (name: string, change: (tree: string) => Promise<unknown>): Promise<string> => {
    const tree = join(place, name);
    await must('cp', '-a', root, tree);
    await change(tree);
    return tree;
  };
  test.each([
    ['without a kernel', (tree: string) => must('rm', '-r', join(tree, 'boot')), /There is no kernel in it.*\n.*linux-image-amd64/],
    [
      'whose kernel has no modules',
      (tree: string) => must('rm', '-r', join(tree, 'usr/lib/modules')),
      /it has no modules at all\):\n\/boot\/vmlinuz-6\.12\.9-amd64: its modules are missing/,
    ],
    [
      'with modules of another version',
      (tree: string) => must('mv', join(tree, 'usr/lib/modules', pcVersion), join(tree, 'usr/lib/modules/1.2.3')),
      /it has modules for 1\.2\.3/,
    ],
    [
      'whose kernel is for i386',
      (tree: string) => writeTree(tree, { [`boot/vmlinuz-${pcVersion}`]: bzImage(pcVersion, false) }),
      /it is for i386, the system for amd64/,
    ],
    [
      'whose kernel is for arm64',
      (tree: string) => writeTree(tree, { [`boot/vmlinuz-${pcVersion}`]: arm64Kernel('6.1') }),
      /it is for arm64/,
    ],
    ['for i386', (tree: string) => pcRoot(tree, 'i386'), /The system in it is for i386\nSupported are: arm64, armhf, amd64/],
    ['that is empty', (tree: string) => must('rm', '-r', join(tree, 'usr'), join(tree, 'bin')), /There is no system in it/],
    [
      'whose modules.dep leads elsewhere',
      (tree: string) => writeTree(tree, { [`usr/lib/modules/${pcVersion}/modules.dep`]: '../../../../etc/shadow:\n' }),
      /modules\.dep names files outside of its folder/,
    ],
    [
      'whose kernel is too long for one',
      (tree: string) => must('truncate', '-s', '129M', join(tree, `boot/vmlinuz-${pcVersion}`)),
      /it has 135\.3 MB: no kernel is so long/,
    ],
    [
      'with too many kernels',
      (tree: string) => writeTree(tree, Object.fromEntries(Array.from({ length: 20 }, (_, at) => [`boot/vmlinuz-9.${at}`, 'x']))),
      /vmlinuz-9\.4: it is too short for a kernel\n.*vmlinuz-9\.3: only 16 such files are looked at/,
    ],
    [
      'whose list of modules is too long for one',
      (tree: string) => must('truncate', '-s', '17M', join(tree, 'usr/lib/modules', pcVersion, 'modules.builtin')),
      /modules\.builtin in it has 17\.8 MB: no list of modules is so long/,
    ],
    [
      'full of holes',
      (tree: string) => writeTree(tree, { hole: '' }).then(() => must('truncate', '-s', '2T', join(tree, 'hole'))),
      /most of it holes/,
    ],
  ])('%s', async (name, change, message) => {
    expect(await refusal(await changed(name, change))).toMatch(message);
  });
  test('of another architecture than was asked for', async () => {
    expect(await refusal(root, { arch: 'arm64' })).toMatch(/is for amd64, and not for arm64/);
  });
});

describe('hostile archives', () => {
  type Entry = readonly [header: Parameters<ReturnType<typeof pack>['entry']>[0], content?: string];
  const tarOf = async (name: string, entries: readonly Entry[]): Promise<string> => {
    const archive = pack();
    for (const [header, content] of entries) {
      archive.entry(header, content ?? '');
    }
    archive.finalize();
    return await put(name, await buffer(archive));
  };
  const canary = (): string => join(place, 'canary');
  const untouched = async (): Promise<void> => {
    expect(await readFile(canary(), 'utf8')).toBe('alive');
    expect(await stat('/escaped').catch(() => 'absent')).toBe('absent');
  };
  beforeAll(async () => void (await put('canary', 'alive')));

  test('names with ".." lead nowhere', async () => {
    const up = '../'.repeat(20);
    expect(await refusal(await tarOf('up.tar', [[{ name: `${up}escaped` }, 'x']]))).toMatch(/names that lead out of it with "\.\."/);
    expect(await refusal(await tarOf('up2.tar', [[{ name: `a/${up}${canary().slice(1)}` }, 'x']]))).toMatch(/bad-input/);
    await untouched();
  });
  test('a link out of it, and a file through it', async () => {
    const through = await tarOf('link.tar', [[{ name: 'out', type: 'symlink', linkname: place }], [{ name: 'out/canary' }, 'dead']]);
    expect(await refusal(through)).toMatch(/bad-input/);
    const climbing = await tarOf('climb.tar', [
      [{ name: 'out', type: 'symlink', linkname: `../../../../../..${place}` }],
      [{ name: 'out/canary' }, 'dead'],
    ]);
    expect(await refusal(climbing)).toMatch(/bad-input/);
    const hard = await tarOf('hard.tar', [[{ name: 'mine', type: 'link', linkname: canary() }], [{ name: 'mine' }, 'dead']]);
    expect(await refusal(hard)).toMatch(/bad-input/);
    await untouched();
  });
  test('absolute names stay within', async () => {
    expect(
      await refusal(
        await tarOf('abs.tar', [
          [{ name: canary() }, 'dead'],
          [{ name: '/escaped' }, 'x'],
        ]),
      ),
    ).toMatch(/There is no system in it/);
    await untouched();
  });
  test('names that are too long outside of the chroot leave nothing behind, with a system and without', async () => {
    const name = `${'d'.repeat(200)}/`.repeat(20);
    const deep = await tarOf('deep.tar', [[{ name: `${name}${'e'.repeat(60)}`, type: 'directory' }]]);
    expect(await refusal(deep)).toMatch(/There is no system in it/);
    const whole = join(place, 'deep-system.tar');
    await must('tar', '-C', root, '-cf', whole, '.');
    await must('tar', '--concatenate', '-f', whole, deep);
    expect(await refusal(whole)).toMatch(/bad-input: A path in it has 408\d bytes, and no more than 3072 can be used/);
  });
  test('links of the system itself are followed within it: what is rewritten is its own', async () => {
    const tree = join(place, 'links');
    await must('cp', '-a', root, tree);
    await writeTree(tree, { [`home${canary()}`]: 'inner' });
    await symlink(canary(), join(tree, 'etc/fstab'));
    await symlink(place, join(tree, 'etc/ssh'));
    await put('ssh_host_key', 'alive');
    await must('rm', '-rf', join(tree, 'etc/systemd'));
    await symlink(place, join(tree, 'etc/systemd'));
    await writeTree(tree, { 'usr/lib/systemd/system/userconfig.service': '' });
    await mkdir(join(tree, place), { recursive: true });
    const { report } = await importing(tree);
    expect(report.changes.map(({ rule }) => rule)).toContain('first-boot');
    await untouched();
    expect(await readFile(join(place, 'ssh_host_key'), 'utf8')).toBe('alive');
    expect(await readdir(place)).not.toContain('system');
  });
  test('a file that unpacks to too much', async () => {
    const bomb = join(place, 'bomb.zst');
    await must('bash', '-c', 'head -c 1200M /dev/zero | zstd -q -o "$1"', 'bomb', bomb);
    expect(await refusal(bomb)).toMatch(/unpacks to more than 1000 times its size/);
  });
  test('a disk that is too small for it', async () => {
    const state = await scratch('small');
    const big = join(place, 'big.gz');
    await must('bash', '-c', 'head -c 20M /dev/urandom | gzip -1 >"$1"', 'big', big);
    await must('mount', '-t', 'tmpfs', '-o', 'size=270M', 'small', state);
    try {
      expect(await refusal(big, { state })).toMatch(/no-space: .* unpacks to more than the .* MB that are free/);
    } finally {
      await must('umount', state);
    }
  });
  test('archives that were cut short', async () => {
    await must('tar', '-C', root, '-cf', join(place, 'whole.tar'), '.');
    const whole = await readFile(join(place, 'whole.tar'));
    await must('xz', '-0', '-k', join(place, 'whole.tar'));
    const packed = await readFile(join(place, 'whole.tar.xz'));
    expect(await refusal(await put('cut.tar.xz', packed.subarray(0, -100)))).toMatch(/bad-input: .* is damaged or cut short/);
    expect(await refusal(await put('cut.tar', whole.subarray(0, 10_240 + 512)))).toMatch(/is damaged or cut short: the mark at the end/);
    const zeroed = Buffer.concat([whole.subarray(0, 20_000), Buffer.alloc(10_480)]);
    expect(await refusal(await put('holes.tar', zeroed))).toMatch(/bad-input/);
    const flipped = Buffer.from(packed);
    const middle = Math.floor(flipped.length / 2);
    flipped.writeUInt8(flipped.readUInt8(middle) ^ 1, middle);
    expect(await refusal(await put('flipped.tar.xz', flipped))).toMatch(/is damaged or cut short/);
  });
});

describe('a disk that would have the kernel open a device of this machine', () => {
  test.each([
    ['by the number in its superblock', withJournalElsewhere, /its journal is on another device/],
    ['by what its journal brings', withJournalThatNamesDevice, /its mount options name a journal on another device/],
  ])('%s', async (_, spoil, message) => {
    const disk = join(await scratch('journal'), 'disk.img');
    await must('mkfs.ext4', '-q', '-F', '-b', '4096', '-d', root, disk, '32M');
    expect((await importing(disk)).report).toMatchObject({ system: 'Test OS' });
    await spoil(disk);
    const before = await digestOf(disk);
    const said = await refusal(disk);
    expect(said).toMatch(/^bad-input: Partition 1 \(ext4\) is not mounted: /);
    expect(said).toMatch(message);
    expect(await digestOf(disk)).toBe(before);
  });
});

describe('container images', () => {
  test('layers, whiteouts and opaque directories come to what a container would see', async () => {
    const base = join(place, 'base');
    await must('cp', '-a', root, base);
    await writeTree(base, {
      'opt/old/a': '1',
      'opt/old/b': '2',
      'srv/gone': 'x',
      'srv/stays': 'y',
      'etc/fstab': '/dev/sda1 / ext4 defaults 0 1\n',
    });
    const top = await layer([
      ['opt/', ''],
      ['opt/old/', ''],
      ['opt/old/.wh..wh..opq', ''],
      ['opt/old/c', '3'],
      ['srv/', ''],
      ['srv/.wh.gone', ''],
      ['srv/.wh.never-there', ''],
    ]);
    const layout = await ociLayout(join(place, 'layout'), { amd64: [await layerOf(base), top] });
    const saved = await dockerSave(join(place, 'saved'), 'amd64', [await layerOf(base), top]);
    const { unpackSource } = await import('#src/images/import/unpack-source.ts');
    for (const [path, isDirectory] of [
      [layout, true],
      [saved, false],
    ] as const) {
      const work = await scratch('oci');
      const options = { arch: undefined, work, signal: new AbortController().signal, onProgress: () => {} };
      const { tree } = await unpackSource({ path, isDirectory, isOurs: false }, options);
      expect(await readdir(join(tree, 'opt/old'))).toEqual(['c']);
      expect(await readdir(join(tree, 'srv'))).toEqual(['stays']);
      expect((await importing(path)).report).toMatchObject({ system: 'Test OS', kernels: [{ version: pcVersion }] });
    }
  });
  test('of several architectures one is chosen', async () => {
    const pi = join(place, 'pi');
    await piRoot(pi);
    await piBoot(join(pi, 'boot/firmware'));
    const layout = await ociLayout(join(place, 'both'), { amd64: [await layerOf(root)], arm64: [await layerOf(pi)] });
    expect((await importing(layout, { arch: 'arm64' })).report).toMatchObject({ arch: 'arm64', system: 'Raspberry Pi OS (test)' });
    expect((await importing(layout, { arch: 'amd64' })).report).toMatchObject({ arch: 'amd64', system: 'Test OS' });
    expect(await refusal(layout)).toMatch(/has several images, for: amd64, arm64, unknown\nChoose one with --arch/);
    const only = await ociLayout(join(place, 'only'), { s390x: [await layer([])] });
    expect(await refusal(only, { arch: 'arm64' })).toMatch(/is not for arm64; it is for: s390x/);
  });
  test('a layer with another checksum, or without its file', async () => {
    const bytes = await layer([['a', 'b']]);
    const layout = await ociLayout(join(place, 'wrong'), { amd64: [bytes] });
    const blobs = join(layout, 'blobs/sha256');
    for (const name of await readdir(blobs)) {
      const content = await readFile(join(blobs, name));
      if (content.readUInt16BE(0) === 0x1f8b) {
        await writeFile(join(blobs, name), Buffer.concat([content, Buffer.from('x')]));
        expect(await refusal(layout)).toMatch(/has another checksum: sha256:.* and not sha256:/);
        await must('rm', join(blobs, name));
        expect(await refusal(layout)).toMatch(/names blobs\/sha256\/.*, and has no such file/);
      }
    }
    const saved = await dockerSave(join(place, 'wrong-saved'), 'amd64', [bytes]);
    await must('bash', '-c', 'cd "$1"; echo x >>*/layer.tar; tar -cf "$2" .', 'change', join(place, 'wrong-saved'), saved);
    expect(await refusal(saved)).toMatch(/has another checksum/);
  });
  test('a layer that is there twice is a link in what docker saves, and is unpacked twice', async () => {
    const added = await layer([['srv/again', 'x']]);
    const removed = await layer([['srv/.wh.again', '']]);
    const saved = await dockerSave(join(place, 'twice'), 'amd64', [await layerOf(root), added, removed, added]);
    const { unpackSource } = await import('#src/images/import/unpack-source.ts');
    const options = { arch: undefined, work: await scratch('twice'), signal: new AbortController().signal, onProgress: () => {} };
    const { tree } = await unpackSource({ path: saved, isDirectory: false, isOurs: false }, options);
    expect(await readFile(join(tree, 'srv/again'), 'utf8')).toBe('x');
  });
  test('a link in the place of a layer that leads elsewhere', async () => {
    const bytes = await layerOf(root);
    const outside = await put('outside.tar', bytes);
    for (const [name, target] of Object.entries({
      absolute: outside,
      climbing: '../../outside.tar',
      itself: 'layer.tar',
      folder: '..',
      nothing: '../absent/layer.tar',
    })) {
      const folder = join(place, `link-${name}`);
      const saved = await dockerSave(folder, 'amd64', [bytes]);
      const [id = ''] = (await readdir(folder)).filter((entry) => entry.length === 64);
      await must('ln', '-sf', target, join(folder, id, 'layer.tar'));
      await must('tar', '-C', folder, '-cf', saved, '.');
      for (const source of [folder, saved]) {
        expect(await refusal(source), name).toMatch(/bad-input: The image names [0-9a-f]{64}\/layer\.tar, and has no such file/);
      }
    }
  });
  test('whiteouts that climb', async () => {
    const outside = join(place, 'outside');
    await writeTree(outside, { 'victim/file': 'alive' });
    const base = await layer([['way', { link: outside }]]);
    const tricks = {
      throughLink: [base, await layer([['way/.wh.victim', '']])],
      sameLayer: [
        await layer([
          ['way', { link: outside }],
          ['way/.wh.victim', ''],
        ]),
      ],
      named: [
        base,
        await layer([
          ['d/', ''],
          ['d/.wh...', ''],
        ]),
      ],
      up: [base, await layer([['../.wh.outside', '']])],
      opaque: [base, await layer([['way/.wh..wh..opq', '']])],
    };
    for (const [name, layers] of Object.entries(tricks)) {
      expect(await refusal(await ociLayout(join(place, name), { amd64: layers })), name).toMatch(/bad-input/);
      expect(await readFile(join(outside, 'victim/file'), 'utf8'), name).toBe('alive');
    }
  });
});
