import { chmod, link, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findPlaces } from '#src/config/places.ts';
import { ImageCatalog } from '#src/images/catalog.ts';
import { readDiff } from '#src/images/commit/diff.ts';
import { extractErofs } from '#src/images/commit/extract-erofs.ts';
import { ruleFor } from '#src/images/commit/rules.ts';
import { ensureNodePrograms } from '#src/images/node-programs.ts';
import { packRoot } from '#src/images/pack-root.ts';
import { commitStage, manifestOf, onlyDifferences, prepareStage, type Stage } from '../support/commit-stage.ts';
import { treeManifest } from '../support/tree-manifest.ts';

const { cache } = findPlaces({ env: process.env });
const signal = new AbortController().signal;

const expectedChanges = [
  'added /bin-data/big-too file = /bin-data/big',
  'removed /empty directory 0 below',
  'changed /etc/alias symlink target',
  'changed /etc/edited file content',
  'added /etc/edited-too file = /etc/edited',
  'changed /etc/labelled file xattrs',
  'changed /etc/moded file mode',
  'changed /etc/owned file owner',
  'removed /etc/removed file',
  'added /opt directory',
  'added /opt/app directory',
  'added /opt/app/a b\\c\nd file',
  'added /opt/app/ümlaut file',
  'added /opt/sparse file',
  'added /renamed directory',
  'added /usr/bin/new file',
  'added /usr/share/disk device',
  'added /usr/share/fifo fifo',
  'removed /usr/share/gone directory 3 below',
  'changed /usr/share/links/two file content',
  'changed /usr/share/node device device',
  'added /usr/share/null device',
  'added /usr/share/replaced/new file',
  'removed /usr/share/replaced/old1 file',
  'added /usr/share/replaced/other directory',
  'added /usr/share/replaced/other/z file',
  'removed /usr/share/replaced/sub directory 1 below',
  'changed /usr/share/to-file directory->file type 1 below',
  'changed /usr/share/to-folder file->directory type',
  'added /usr/share/to-folder/in file',
  'changed /usr/share/to-link directory->symlink type 1 below',
  'added /var/lib/apt directory',
  'added /var/lib/apt/lists directory',
  'changed /var/lib/moded directory mode xattrs',
  'added /var/log/app directory',
];

const expectedLeftOut = [
  "/etc/cardless: the agent's key",
  "/etc/cardless/agent.conf: the agent's key",
  '/etc/hostname: the name of the node',
  '/etc/machine-id: the identity that systemd goes by',
  '/etc/ssh: only there for what the server writes into it',
  '/etc/ssh/ssh_host_ed25519_key: SSH host keys',
  '/root/.bash_history: what somebody typed',
  '/root/.ssh: only there for what the server writes into it',
  '/root/.ssh/authorized_keys: the keys of the operator',
  '/tmp/x: temporary files',
  "/var/lib/apt/lists/deb_Packages: apt's lists of packages, which age",
  '/var/log/app/app.log: logs',
  '/var/log/dpkg.log: logs',
  '/var/log/journal: the journal',
  '/var/log/journal/abc: the journal',
  '/var/log/journal/abc/system.journal: the journal',
];

test('an erofs that the kernel cannot mount is unpacked whole', async () => {
  const stage = await prepareStage('erofs', (root) => rm(join(root, 'etc/removed')));
  const made = await commitStage(stage, { dryRun: true });
  expect(made.counts).toEqual({ added: 0, changed: 0, removed: 1 });
  const unpacked = join(stage.folder, 'unpacked');
  await extractErofs(join(stage.images, stage.image.digest, 'root.img'), unpacked, signal);
  const kernel = await manifestOf(stage, stage.image.digest);
  expect(kernel.size).toBeGreaterThan(40);
  expect([...kernel.values()].filter((line) => / links |security\.capability|user\.origin/.test(line))).toHaveLength(5);
  expect(onlyDifferences(kernel, await treeManifest(unpacked))).toEqual([]);
  await rm(stage.folder, { recursive: true });
});

test('names that are not UTF-8: the image may have them, a change of the node with one is refused by name', async () => {
  const place = await mkdtemp(join(tmpdir(), 'cardless-latin1-'));
  const [base, upper] = [join(place, 'base'), join(place, 'upper')];
  const latin1 = (path: string): Buffer => Buffer.from(path, 'latin1');
  await mkdir(latin1(join(base, 'gone/caf\xe9')), { recursive: true });
  await writeFile(latin1(join(base, 'gone/caf\xe9/menu')), '');
  await mkdir(upper);
  await execa('mknod', [join(upper, 'gone'), 'c', '0', '0']);
  const { changes } = await readDiff({ base, upper, signal });
  expect(changes).toMatchObject([{ path: '/gone', change: 'removed', below: 2 }]);
  await mkdir(join(upper, 'opt'));
  await writeFile(latin1(join(upper, 'opt/caf\xe9')), '');
  const refused = { code: 'bad-input', message: expect.stringContaining('/opt/caf\\xe9 is not UTF-8') };
  await expect(readDiff({ base, upper, signal })).rejects.toMatchObject(refused);

  const tree = join(place, 'tree');
  await mkdir(tree);
  const at = (name: string): Buffer => latin1(join(tree, name));
  await writeFile(at('caf\xe9'), 'x');
  await chmod(at('caf\xe9'), 0o4755);
  await execa('sh', ['-c', 'cd "$1" && setfattr -n user.origin -v base caf*', 'sh', tree]);
  await link(at('caf\xe9'), at('th\xe9'));
  await packRoot({ tree, output: join(place, 'root.img'), modules: [], identity: 'x', format: 'erofs', signal });
  await extractErofs(join(place, 'root.img'), join(place, 'unpacked'), signal);
  const { stdout } = await execa('sh', [
    '-c',
    'cd "$1" && stat -c "%a %h" * && getfattr --only-values -n user.origin caf*',
    'sh',
    join(place, 'unpacked'),
  ]);
  expect(stdout).toBe('4755 2\n4755 2\nbase');
  await rm(place, { recursive: true });
});

test('access control lists: kept by erofs; squashfs cannot, and says so', async () => {
  // user::rw-, user:7:r--, group::r--, mask::r--, other::r--
  const list = '0x0200000001000600ffffffff020004000700000004000400ffffffff10000400ffffffff20000400ffffffff';
  for (const format of ['erofs', 'squashfs'] as const) {
    const stage = await prepareStage(format, async (root) => {
      await writeFile(join(root, 'etc/listed'), '');
      await execa('setfattr', ['-n', 'system.posix_acl_access', '-v', list, join(root, 'etc/listed')]);
    });
    const { notes, digest = '', changes } = await commitStage(stage);
    expect(changes).toMatchObject([{ path: '/etc/listed', change: 'added' }]);
    const isKept = (await manifestOf(stage, digest)).get('/etc/listed')?.includes(`system.posix_acl_access=${list}`);
    expect([isKept, notes.join()]).toEqual(
      format === 'erofs' ? [true, ''] : [false, expect.stringContaining('that of /etc/listed is not in the image')],
    );
    await rm(stage.folder, { recursive: true });
  }
});

beforeAll(async () => {
  await ensureNodePrograms({ cache, arch: 'amd64', signal });
});

describe.each(['erofs', 'squashfs'] as const)('a root of %s', (format) => {
  let stage: Stage;
  beforeAll(async () => {
    stage = await prepareStage(format);
  });
  afterAll(async () => {
    await rm(stage.folder, { recursive: true, force: true });
  });

  test('the dry run lists what was done and nothing else, and leaves no trace', async () => {
    const disk = await readFile(stage.disk);
    const { changes, leftOut, counts, snapshot } = await commitStage(stage, { dryRun: true });
    expect(snapshot).toEqual({ kind: 'unused' });
    const lines = changes.map(({ path, change: kind, before, type, what, linkTo, below }) =>
      [kind, path, before ? `${before}->${type}` : type, ...what, linkTo ? `= ${linkTo}` : '', below === undefined ? '' : `${below} below`]
        .filter((word) => word !== '')
        .join(' '),
    );
    expect(lines).toEqual(expectedChanges);
    expect(counts.added + counts.changed + counts.removed).toBe(changes.length);
    expect(leftOut.map(({ path, reason }) => `${path}: ${reason}`)).toEqual(expectedLeftOut);
    expect((await readFile(stage.disk)).equals(disk)).toBe(true);
    expect(await readdir(join(stage.folder, 'work'))).toEqual([]);
    expect(await readdir(stage.images)).toEqual([stage.image.digest]);
  });

  test('the committed root is what the node saw, without its identity', async () => {
    const { digest = '', notes } = await commitStage(stage);
    const base = await manifestOf(stage, stage.image.digest);
    const committed = await manifestOf(stage, digest);
    const differences = onlyDifferences(stage.live, committed);
    // Every difference is one of identity, and is as it was in the image.
    const notCovered = differences.filter((path) => ruleFor(path, false) === undefined);
    expect(notCovered.filter((path) => !['/etc/ssh', '/root/.ssh', '/var/lib/apt/lists/deb_Packages'].includes(path))).toEqual([]);
    expect(differences.length).toBeGreaterThan(8);
    for (const path of differences) {
      expect(committed.get(path), path).toBe(base.get(path));
    }
    expect(onlyDifferences(base, committed).length).toBeGreaterThan(40);
    expect(committed.get('/var/log/app')).toMatch(/^40755 /);
    expect(notes).toEqual([]);
    const image = (await new ImageCatalog(stage.images).list()).find((entry) => entry.digest === digest);
    expect(image).toMatchObject({
      parent: stage.image.digest,
      message: 'as changed',
      rootFormat: format,
      kernelVersion: stage.image.kernelVersion,
    });
    expect(image?.files.map(({ path }) => path)).toEqual(['boot/initramfs.img', 'boot/vmlinuz', 'root.img']);
    if (format === 'erofs') {
      expect((await commitStage(stage)).digest, 'the same changes again').toBe(digest);
    }
    expect(await readFile('/proc/mounts', 'utf8')).not.toContain(stage.folder);
    expect((await execa('losetup', ['-a'])).stdout).not.toContain(stage.folder);
    await rm(join(stage.images, digest), { recursive: true });
  });

  test('a disk whose journal was not written back yet has the same changes', async () => {
    expect((await execa('dumpe2fs', ['-h', stage.crashed])).stdout).toContain('needs_recovery');
    const [crashed, clean] = [await commitStage(stage, { dryRun: true, disk: stage.crashed }), await commitStage(stage, { dryRun: true })];
    expect(crashed.changes).toEqual(clean.changes);
  });

  test('what is not chosen is as it is in the image, also where a folder was replaced', async () => {
    const base = await manifestOf(stage, stage.image.digest);
    const paths = await commitStage(stage, { paths: ['/etc', '/usr/share/replaced/new'] });
    const chosen = await manifestOf(stage, paths.digest ?? '');
    const names = onlyDifferences(base, chosen).filter((path) => !path.startsWith('/etc/'));
    expect(names).toEqual(['/usr/share/replaced/new']);
    expect(chosen.get('/etc/edited')).toBe(stage.live.get('/etc/edited'));
    expect(chosen.get('/etc/removed')).toBeUndefined();

    const left = ['/usr/share/replaced/new', '/usr/share/replaced/sub', '/var/lib/moded', '/usr/share/to-file', '/opt'];
    const { digest = '' } = await commitStage(stage, { exclude: [...left, '/usr/share/to-f*'] });
    const excluded = await manifestOf(stage, digest);
    for (const path of [...left, '/usr/share/replaced/sub/old2', '/usr/share/to-file/x', '/usr/share/to-folder', '/opt/app']) {
      expect(excluded.get(path), path).toBe(base.get(path));
    }
    expect(excluded.get('/usr/share/replaced/old1')).toBeUndefined();
    expect(excluded.get('/usr/share/null')).toBe(stage.live.get('/usr/share/null'));
  });
});
