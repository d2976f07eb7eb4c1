import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import zlib from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { ContentEntry, ImageContents } from '#src/domain/image-contents.ts';
import { diffContents } from '#src/images/diff-contents.ts';
import { inThread } from '#src/images/image-tasks.ts';
import { initramfsModules } from '#src/images/initramfs-modules.ts';
import { readKernelFormat } from '#src/images/kernel-format.ts';
import { readApkInstalled, readDpkgStatus } from '#src/images/package-lists.ts';

const file = (path: string, more: Partial<ContentEntry> = {}): ContentEntry => ({
  path,
  type: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  sha256: 'a',
  ...more,
});
const contents = (entries: ContentEntry[], packages: ImageContents['packages'] = []): ImageContents => ({ entries, packages, kernels: [] });

describe('comparing two versions', () => {
  test.each<[string, Partial<ContentEntry>, string[]]>([
    ['content', { sha256: 'b' }, ['content']],
    ['mode', { mode: 0o755 }, ['mode']],
    ['owner', { gid: 5 }, ['owner']],
    ['owner and content', { uid: 1, sha256: 'b' }, ['content', 'owner']],
    ['type, whatever else', { type: 'directory', mode: 0o755 }, ['type']],
  ])('another %s', (_name, change, want) => {
    const { files } = diffContents(contents([file('/etc/hosts')]), contents([file('/etc/hosts', change)]));
    expect(files).toEqual({ added: [], removed: [], changed: [{ path: '/etc/hosts', what: want }] });
  });
  test('the mode of a link is nothing, its target is', () => {
    const link = (target: string, mode: number): ImageContents => contents([{ path: '/bin', type: 'link', mode, uid: 0, gid: 0, target }]);
    expect(diffContents(link('a', 0o777), link('a', 0o700)).files.changed).toEqual([]);
    expect(diffContents(link('a', 0o777), link('b', 0o777)).files.changed).toEqual([{ path: '/bin', what: ['target'] }]);
  });
  test('files and packages that come, go and change', () => {
    const before = contents(
      [file('/a'), file('/b')],
      [
        { name: 'bash', version: '5.1' },
        { name: 'vim', version: '9' },
      ],
    );
    const after = contents(
      [file('/b'), file('/c')],
      [
        { name: 'bash', version: '5.2' },
        { name: 'nano', version: '8' },
      ],
    );
    expect(diffContents(before, after)).toEqual({
      packages: {
        added: [{ name: 'nano', version: '8' }],
        removed: [{ name: 'vim', version: '9' }],
        changed: [{ name: 'bash', from: '5.1', to: '5.2' }],
      },
      files: { added: [file('/c')], removed: [file('/a')], changed: [] },
      notListed: { added: 0, removed: 0, changed: 0 },
    });
    expect(diffContents(before, before).files).toEqual({ added: [], removed: [], changed: [] });
  });
  test('more than anybody reads is counted, not listed', () => {
    const many = contents(Array.from({ length: 2005 }, (_, index) => file(`/${index}`)));
    const { files, notListed } = diffContents(contents([]), many);
    expect([files.added.length, notListed.added]).toEqual([2000, 5]);
  });
});

describe('lists of packages', () => {
  test('dpkg: what is installed, with the architecture where several may be', () => {
    const status = [
      'Package: zlib1g\nStatus: install ok installed\nArchitecture: arm64\nMulti-Arch: same\nVersion: 1:1.3\nDescription: x\n Package: no',
      'Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1',
      'Package: bash\nStatus: install ok installed\nArchitecture: arm64\nVersion: 5.2-1\n',
    ].join('\n\n');
    expect(readDpkgStatus(status)).toEqual([
      { name: 'bash', version: '5.2-1' },
      { name: 'zlib1g:arm64', version: '1:1.3' },
    ]);
    expect(readDpkgStatus('')).toEqual([]);
  });
  test('apk', () => {
    expect(readApkInstalled('C:Q1\nP:musl\nV:1.2.5-r0\nA:aarch64\n\nP:busybox\nV:1.36\n')).toEqual([
      { name: 'busybox', version: '1.36' },
      { name: 'musl', version: '1.2.5-r0' },
    ]);
  });
});

describe('kinds of kernels', () => {
  const kernel = (at: number, magic: string): Buffer => {
    const bytes = Buffer.alloc(200_000, 0x20);
    bytes.write(magic, at, 'latin1');
    return bytes;
  };
  test.each([
    ['arm64', kernel(56, 'ARM\x64'), 'arm64'],
    ['gzip of arm64, cut off', zlib.gzipSync(kernel(56, 'ARM\x64')).subarray(0, 150), 'arm64'],
    ['zImage', kernel(36, '\x18\x28\x6f\x01'), 'arm'],
    ['bzImage', kernel(0x202, 'HdrS'), 'x86'],
    ['text', Buffer.from('hello'), 'unknown'],
    ['nothing', Buffer.alloc(0), 'unknown'],
    ['gzip of nothing', Buffer.from([0x1f, 0x8b, 1]), 'unknown'],
  ])('%s', (_name, bytes, want) => {
    expect(readKernelFormat(bytes)).toBe(want);
  });
});

describe('the modules of an initramfs', () => {
  const archive = (): Buffer => {
    const tree = mkdtempSync(join(tmpdir(), 'cardless-initramfs-'));
    const modules = join(tree, 'lib/modules/6.12-test/kernel/net');
    mkdirSync(modules, { recursive: true });
    writeFileSync(join(modules, 'bcm-phy-lib.ko'), 'odd length');
    writeFileSync(join(modules, 'genet.ko'), 'x');
    writeFileSync(join(tree, 'init'), '#!/bin/sh\n');
    return execFileSync('sh', ['-c', 'find . | LC_ALL=C sort | cpio --quiet -o -H newc'], { cwd: tree });
  };
  test.each([
    ['plain', (bytes: Buffer) => bytes],
    ['gzip', (bytes: Buffer) => zlib.gzipSync(bytes)],
    ['zstd', (bytes: Buffer) => zlib.zstdCompressSync(bytes)],
  ])('%s, as the real cpio writes it', (_name, pack) => {
    expect(initramfsModules(pack(archive()))).toEqual({ version: '6.12-test', modules: ['bcm_phy_lib', 'genet'] });
  });
  test('what is damaged or of no known kind is not guessed', () => {
    expect(initramfsModules(archive().subarray(0, 300))).toBeUndefined();
    expect(initramfsModules(zlib.zstdCompressSync(archive()).subarray(0, 60))).toBeUndefined();
    expect(initramfsModules(Buffer.from('not a cpio archive'))).toBeUndefined();
  });
});

describe('work in a thread', () => {
  test('files that cannot be read are told beside those that can', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'cardless-hash-'));
    writeFileSync(join(directory, 'a'), 'abc');
    const results = await inThread('hash', { files: ['a', 'absent'].map((name) => join(directory, name)) });
    expect(results).toEqual([
      { bytes: 3, sha256: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad' },
      { unreadable: expect.stringContaining('ENOENT') },
    ]);
  });
  test('a list of packages that is too long for one is not read', async () => {
    const tree = mkdtempSync(join(tmpdir(), 'cardless-long-'));
    mkdirSync(join(tree, 'var/lib/dpkg'), { recursive: true });
    writeFileSync(join(tree, 'var/lib/dpkg/status'), '');
    truncateSync(join(tree, 'var/lib/dpkg/status'), 65 * 2 ** 20);
    await expect(inThread('gather', { tree, output: join(tree, 'list') })).rejects.toThrow(
      '/var/lib/dpkg/status in it has 68.2 MB: no such file is so long',
    );
  });
  test('a root with names and targets from before UTF-8 is listed, and they are readable', async () => {
    const tree = mkdtempSync(join(tmpdir(), 'cardless-latin1-'));
    const at = (path: string): Buffer => Buffer.from(join(tree, path), 'latin1');
    mkdirSync(at('M\xfcll'));
    writeFileSync(at('M\xfcll/caf\xe9'), 'abc');
    symlinkSync(Buffer.from('caf\xe9', 'latin1'), at('M\xfcll/link'));
    writeFileSync(join(tree, 'café'), '');
    const lists = mkdtempSync(join(tmpdir(), 'cardless-lists-'));
    await inThread('gather', { tree, output: join(lists, 'a') });
    const { entries } = JSON.parse(zlib.zstdDecompressSync(readFileSync(join(lists, 'a'))).toString()) as ImageContents;
    expect(entries.map(({ path, bytes, target }) => [path, bytes ?? target])).toEqual([
      ['/M\\xfcll', undefined],
      ['/M\\xfcll/caf\\xe9', 3],
      ['/M\\xfcll/link', 'caf\\xe9'],
      ['/café', 0],
    ]);
    expect(await inThread('summary', { list: join(lists, 'a') })).toMatchObject({ files: 2 });
  });
  test('ends when it is cancelled, and says what it cannot do', async () => {
    const abort = new AbortController();
    const endless = inThread('hash', { files: ['/dev/zero'] }, { signal: abort.signal });
    abort.abort();
    await expect(endless).rejects.toMatchObject({ code: 'cancelled' });
    await expect(inThread('summary', { list: '/nonexistent' })).rejects.toMatchObject({
      code: 'failed',
      message: expect.stringContaining('ENOENT'),
    });
  });
});
