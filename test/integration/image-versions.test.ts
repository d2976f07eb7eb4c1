import { mkdir, open, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Image } from '#src/domain/image.ts';
import { cardless, type Ran } from '../support/lab-server.ts';
import { RegistryServer } from '../support/registry-server.ts';
import { publishSmallImage } from '../support/small-images.ts';

const status = (bash: string): string =>
  `Package: bash\nStatus: install ok installed\nArchitecture: arm64\nVersion: ${bash}\n\n` +
  `Package: dash\nStatus: install ok installed\nArchitecture: arm64\nVersion: 0.5\n`;
const modules = {
  'usr/lib/modules/6.12/modules.dep': 'kernel/net/genet.ko:\n',
  'usr/lib/modules/6.12/modules.builtin': 'kernel/fs/ext4/ext4.ko\nkernel/drivers/block/nbd.ko\n',
};

let server: RegistryServer;
let old: Image;
let newest: Image;
let pc: Image;

const run = (...args: string[]): Promise<Ran> => cardless([...args, '--state', server.state]);
const json = async (...args: string[]): Promise<unknown> => JSON.parse((await run(...args, '--json')).stdout);
const call = (method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, body?: object): Promise<unknown> =>
  server.client.call(method, path, body);
const at = (second: number): Date => new Date(Date.UTC(2026, 0, 1, 0, 0, second));
const short = (image: Image): string => image.digest.slice(0, 12);

async function flipByte(file: string, offset: number): Promise<void> {
  const handle = await open(file, 'r+');
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, offset);
  await handle.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, offset);
  await handle.close();
}

const rootOf = (bash: string, more: Record<string, string> = {}): Record<string, string> => ({
  'etc/hosts': '127.0.0.1 localhost',
  'var/lib/dpkg/status': status(bash),
  'usr/bin/tool': '0755 same',
  ...modules,
  ...more,
});

async function publishOld(): Promise<Image> {
  return await publishSmallImage({ state: server.state, root: rootOf('5.1', { 'etc/gone': 'x' }), createdAt: at(1) });
}

beforeAll(async () => {
  server = await RegistryServer.start();
  old = await publishOld();
  newest = await publishSmallImage({
    state: server.state,
    root: { ...rootOf('5.2', { 'etc/new': 'x' }), 'usr/bin/tool': '0700 same', 'etc/hosts': '127.0.0.1 changed' },
    boot: { 'kernel8.img': 'another kernel' },
    format: 'squashfs',
    createdAt: at(2),
  });
  pc = await publishSmallImage({ state: server.state, arch: 'amd64', root: rootOf('5.1'), boot: { vmlinuz: 'kernel' }, createdAt: at(1) });
});
afterAll(() => server[Symbol.asyncDispose]());

describe('image versions on a running server', () => {
  test('a tag names one version of each architecture, moves, and goes', async () => {
    expect(await json('image', 'tag', `debian-13:${short(old)}`, 'stable')).toMatchObject([{ arch: 'arm64', digest: old.digest }]);
    expect(await json('image', 'tag', 'debian-13', 'stable')).toMatchObject([
      { arch: 'arm64', digest: newest.digest, movedFrom: old.digest },
      { arch: 'amd64', digest: pc.digest },
    ]);
    const listed = await run('image', 'list');
    expect(listed.stdout).toMatch(new RegExp(`arm64 +${short(newest)} +latest, stable`));
    expect(listed.stdout).toMatch(new RegExp(`arm64 +${short(old)} +- `));
    expect(await json('image', 'untag', 'debian-13:stable', '--arch', 'amd64')).toMatchObject([{ arch: 'amd64' }]);
    expect(await call('GET', '/images')).toMatchObject([
      { digest: newest.digest, tags: ['latest', 'stable'] },
      { digest: expect.any(String) },
      { digest: expect.any(String) },
    ]);
    const wrong = await run('image', 'tag', 'debian-13', 'latest');
    expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('always the newest version') });
  });

  test('show tells of packages, files and who needs it', async () => {
    expect(await json('image', 'show', `debian-13:${short(old)}`)).toMatchObject([
      { digest: old.digest, packages: 2, rootFiles: 6, neededBy: [], files: old.files },
    ]);
    const several = await run('image', 'show', 'debian-13');
    expect(several.stdout).toContain(newest.digest);
    expect(several.stdout).toContain(pc.digest);
  });

  test('diff says what changed, by package and by file, between roots of different formats', async () => {
    const refs = [`debian-13:${short(old)}`, `debian-13:${short(newest)}`];
    expect(await json('image', 'diff', ...refs)).toMatchObject({
      packages: { added: [], removed: [], changed: [{ name: 'bash', from: '5.1', to: '5.2' }] },
      files: {
        added: [{ path: '/etc/new', type: 'file' }],
        removed: [{ path: '/etc/gone' }],
        changed: [
          { path: '/etc/hosts', what: ['content'] },
          { path: '/usr/bin/tool', what: ['mode'] },
          { path: '/var/lib/dpkg/status', what: ['content'] },
          { path: 'boot/kernel8.img', what: ['content'] },
        ],
      },
    });
    const packages = await run('image', 'diff', ...refs, '--packages');
    expect(packages.stdout).toContain('~ bash 5.1 -> 5.2');
    expect(packages.stdout).not.toContain('/etc/hosts');
    const same = await run('image', 'diff', 'debian-13', 'debian-13', '--arch', 'amd64');
    expect(same.stdout).toMatch(/packages: no difference\nfiles: no difference/);
    expect(await run('image', 'diff', 'debian-13', 'debian-13')).toMatchObject({ code: 2, stderr: expect.stringContaining('Add --arch') });
  });

  test('check says per board what is missing, and is exit code 1', async () => {
    const checked = await run('image', 'check', `debian-13:${short(old)}`, '--model', 'pi4');
    expect(checked.code).toBe(1);
    for (const what of ['bcm2711-rpi-4-b.dtb', 'start4.elf', 'fixup4.dat', 'kernel8.img is no kernel', 'initramfs.img cannot be read']) {
      expect(checked.stdout).toContain(what);
    }
    expect((await run('image', 'check', 'debian-13', '--model', 'pi9')).stderr).toContain('"pi9" is not a board model');
  });

  test('nodes are given versions; what stands for nothing is refused unless it is forced', async () => {
    const add = (name: string, serial: string, ref: string, ...more: string[]): Promise<Ran> =>
      run('node', 'add', name, '--serial', serial, '--image', ref, ...more);
    expect((await add('red5', '00000005', `debian-13:${old.digest.slice(0, 7)}`)).code).toBe(0);
    expect(await add('red6', '00000006', 'debain-13')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('There is no image "debain-13"'),
    });
    expect(await add('red6', '00000006', 'debian-13:nothing')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('has the tag "nothing"'),
    });
    expect((await add('red6', '00000006', 'debian-13:nothing', '--force')).code).toBe(0);
    expect((await run('node', 'show', 'red5')).stdout).toContain(`debian-13:${short(old)} (${short(old)})`);
    expect((await run('node', 'show', 'red6')).stdout).toContain('debian-13:nothing (there is none)');
    await call('PATCH', '/nodes/red6', { image: 'debian-13:stable' });
    expect(await run('image', 'untag', 'debian-13:stable')).toMatchObject({ code: 1, stderr: expect.stringContaining('what red6 boots') });
  });

  test('rm is refused with the name of who needs it, and then removes all of it', async () => {
    const ref = `debian-13:${short(old)}`;
    const remove = (): Promise<Ran> => run('image', 'rm', ref);
    await call('POST', '/images/tag', { ref, tag: 'before' });
    const overlay = join(server.state, 'overlays/red9', `${old.digest}.img`);
    await mkdir(join(overlay, '..'), { recursive: true });
    await writeFile(overlay, 'overlay');
    const refused = await remove();
    expect(refused.code).toBe(1);
    for (const who of ['red5 boots it next', 'red9 has an overlay of it', 'it has the tag before']) {
      expect(refused.stderr).toContain(who);
    }
    expect(await run('image', 'gc', '--dry-run')).toMatchObject({ stdout: expect.stringContaining('nothing to remove') });
    expect(await run('image', 'rm', 'debian-13')).toMatchObject({ code: 2, stderr: expect.stringContaining('names no version') });

    await call('PATCH', '/nodes/red5', { image: 'debian-13' });
    await call('POST', '/images/untag', { ref: 'debian-13:before' });
    await rm(overlay);
    expect(await call('POST', '/images/gc', { dryRun: true })).toMatchObject({ dryRun: true, removed: [{ digest: old.digest }] });
    expect(await call('POST', '/images/gc', { keep: 2 })).toMatchObject({ removed: [], bytes: 0 });
    expect((await remove()).stdout).toContain(`removed debian-13:${short(old)} (arm64)`);
    expect(await readdir(join(server.state, 'images'))).toEqual([newest.digest, pc.digest].toSorted());
    expect(await readdir(join(server.state, 'work'))).toEqual([]);
    expect((await readdir(join(server.state, 'cache/contents'))).filter((name) => name.startsWith(old.digest))).toEqual([]);
  });

  test('gc removes what nothing needs and says how much that is', async () => {
    const again = await publishOld();
    expect(again.digest).toBe(old.digest);
    const bytes = old.files.reduce((sum, file) => sum + file.bytes, 0);
    expect(await json('image', 'gc')).toMatchObject({
      removed: [{ digest: old.digest, bytes }],
      bytes,
      kept: [{ why: expect.any(Array) }, {}],
    });
    expect(await readdir(join(server.state, 'images'))).toEqual([newest.digest, pc.digest].toSorted());
  });

  test('gc removes built trees that no build used for long, and says so', async () => {
    const tree = join(server.state, 'cache/trees/old-arm64-0123');
    await mkdir(tree, { recursive: true });
    await writeFile(join(tree, 'root.img'), Buffer.alloc(2_500_000));
    await utimes(tree, new Date('2026-01-02'), new Date('2026-01-02'));
    const said = 'the built tree old-arm64-0123, 2.5 MB, last used on 2026-01-02';
    expect((await run('image', 'gc', '--dry-run')).stdout).toContain(`would remove ${said}`);
    expect((await run('image', 'gc')).stdout).toContain(`removed ${said}`);
    expect(await readdir(join(server.state, 'cache/trees'))).toEqual([]);
  });

  test('verify finds one flipped bit and names the file; the same content published again mends it', async () => {
    await publishOld();
    expect(await run('image', 'verify')).toMatchObject({ code: 0, stdout: expect.stringContaining('3 images') });
    const kernel = join(server.state, 'images', old.digest, 'boot/kernel8.img');
    await flipByte(kernel, (await stat(kernel)).size - 1);
    await writeFile(join(server.state, 'images', pc.digest, 'boot/foreign'), 'x');
    const found = await run('image', 'verify', '--json');
    expect(found.code).toBe(1);
    expect(JSON.parse(found.stdout)).toMatchObject({
      problems: expect.arrayContaining([
        { digest: old.digest, name: 'debian-13', file: 'boot/kernel8.img', what: expect.stringContaining('another content') },
        { digest: pc.digest, name: 'debian-13', file: 'boot/foreign', what: 'is not in the manifest' },
      ]),
    });
    expect((await run('image', 'verify', 'debian-13:stable')).code).toBe(0);
    await publishOld();
    expect((await run('image', 'verify', `debian-13:${short(old)}`)).code).toBe(0);
  });

  test('an image with a damaged manifest is named and can be removed; the others are there', async () => {
    const manifest = join(server.state, 'images', old.digest, 'manifest.json');
    await flipByte(manifest, (await readFile(manifest, 'utf8')).indexOf('kernelVersion'));
    const listed = await run('image', 'list');
    expect(listed.stdout).toContain(`${short(old)} is damaged and left out`);
    expect(listed.stdout).toContain(short(newest));
    expect(await run('image', 'verify')).toMatchObject({ code: 1, stdout: expect.stringContaining('manifest.json') });
    expect((await run('image', 'rm', old.digest)).code).toBe(0);
    expect((await run('image', 'list')).stdout).not.toContain(short(old));
  });
});
