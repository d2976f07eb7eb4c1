/** A node's changes without a node: a made-up root, a real ext4 disk, and a real session of overlayfs on the two. */
import { appendFile, chmod, link, mkdir, mkdtemp, open, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { findPlaces } from '#src/config/places.ts';
import { type Image, parseImageName } from '#src/domain/image.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { type CommitOptions, type CommitResult, commitImage } from '#src/images/commit/commit.ts';
import { packRoot, type RootFormat } from '#src/images/pack-root.ts';
import { publishImage } from '#src/images/publish.ts';
import { checkCopy } from '#src/overlays/check-disk.ts';
import { copyAtRest } from '#src/overlays/copy-at-rest.ts';
import { OverlayDisks } from '#src/overlays/overlay-disks.ts';
import { holdDisk } from '#src/servers/nbd/fence.ts';
import { treeManifest } from './tree-manifest.ts';

const { cache } = findPlaces({ env: process.env });
const signal = new AbortController().signal;
const kernelVersion = '6.1.0-test-amd64';

async function write(root: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
}

async function makeBase(tree: string): Promise<void> {
  await write(tree, {
    'bin-data/big': 'x'.repeat(300_000),
    'etc/passwd': 'root:x:0:0::/root:/bin/sh\n',
    'etc/machine-id': '',
    'etc/touched': 'same\n',
    'etc/edited': 'before\n',
    'etc/removed': 'x',
    'etc/moded': 'x',
    'etc/owned': 'x',
    'etc/labelled': 'x',
    'usr/bin/ping': 'ping',
    'usr/bin/suid': 'suid',
    'usr/share/gone/a': 'a',
    'usr/share/gone/deep/b': 'b',
    'usr/share/replaced/old1': '1',
    'usr/share/replaced/kept': 'kept',
    'usr/share/replaced/sub/old2': '2',
    'usr/share/to-file/x': 'x',
    'usr/share/to-folder': 'file',
    'usr/share/to-link/y': 'y',
    'usr/share/links/one': 'linked',
    'var/log/dpkg.log': 'base log\n',
    'var/lib/app/state': 'x',
    [`usr/lib/modules/${kernelVersion}/modules.dep`]: '',
    [`usr/lib/modules/${kernelVersion}/modules.builtin`]: '',
    [`usr/lib/modules/${kernelVersion}/modules.builtin.modinfo`]: '',
    [`usr/lib/modules/${kernelVersion}/modules.order`]: '',
  });
  await Promise.all(['tmp', 'run', 'dev', 'root', 'empty', 'var/lib/moded'].map((path) => mkdir(join(tree, path), { recursive: true })));
  await symlink('usr/lib', join(tree, 'lib'));
  await symlink('passwd', join(tree, 'etc/alias'));
  await link(join(tree, 'usr/share/links/one'), join(tree, 'usr/share/links/two'));
  await link(join(tree, 'usr/share/links/one'), join(tree, 'usr/share/links/three'));
  await execa('setcap', ['cap_net_raw+ep', join(tree, 'usr/bin/ping')]);
  await execa('setfattr', ['-n', 'user.origin', '-v', 'base', join(tree, 'etc/labelled')]);
  await execa('chown', ['12:34', join(tree, 'usr/bin/suid')]);
  await chmod(join(tree, 'usr/bin/suid'), 0o4755);
  await execa('mknod', [join(tree, 'usr/share/node'), 'c', '1', '3']);
}

/** What people and packages do to a running system, and all that is hard to carry over. */
async function change(root: string): Promise<void> {
  const at = (path: string): string => join(root, path);
  await appendFile(at('etc/edited'), 'after\n');
  await execa('touch', [at('etc/touched')]);
  await chmod(at('etc/moded'), 0o600);
  await execa('chown', ['7:8', at('etc/owned')]);
  await execa('setfattr', ['-n', 'user.origin', '-v', 'node', at('etc/labelled')]);
  await execa('setfattr', ['-n', 'trusted.mark', '-v', 'node', at('var/lib/moded')]);
  await chmod(at('var/lib/moded'), 0o700);
  await rm(at('etc/removed'));
  await rm(at('usr/share/gone'), { recursive: true });
  await rm(at('usr/share/replaced'), { recursive: true });
  await write(root, { 'usr/share/replaced/new': 'new', 'usr/share/replaced/kept': 'kept', 'usr/share/replaced/other/z': 'z' });
  await rm(at('usr/share/to-file'), { recursive: true });
  await writeFile(at('usr/share/to-file'), 'a file now');
  await rm(at('usr/share/to-folder'));
  await write(root, { 'usr/share/to-folder/in': 'in' });
  await rm(at('usr/share/to-link'), { recursive: true });
  await symlink('replaced', at('usr/share/to-link'));
  await rm(at('etc/alias'));
  await symlink('edited', at('etc/alias'));
  await appendFile(at('usr/share/links/two'), ' no more');
  await link(at('etc/edited'), at('etc/edited-too'));
  await link(at('bin-data/big'), at('bin-data/big-too'));
  await rename(at('empty'), at('renamed')).catch(async () => {
    await rm(at('empty'), { recursive: true });
    await mkdir(at('renamed'));
  });
  await execa('mknod', [at('usr/share/null'), 'c', '1', '3']);
  await execa('mknod', [at('usr/share/disk'), 'b', '7', '9']);
  await execa('mkfifo', [at('usr/share/fifo')]);
  await rm(at('usr/share/node'));
  await execa('mknod', [at('usr/share/node'), 'c', '1', '5']);
  await write(root, {
    'usr/bin/new': 'new',
    'opt/app/a b\\c\nd': 'odd name',
    'opt/app/ümlaut': 'u',
    'opt/app/gone': 'x',
    'opt/sparse': '',
  });
  await rm(at('opt/app/gone'));
  await execa('setcap', ['cap_net_bind_service+ep', at('usr/bin/new')]);
  await execa('setfattr', ['-n', 'user.odd', '-v', 'odd', at('opt/app/a b\\c\nd')]);
  await chmod(at('usr/bin/new'), 0o6711);
  const sparse = await open(at('opt/sparse'), 'r+');
  await sparse.write('end', 3_000_000);
  await sparse.close();
  await write(root, {
    'etc/hostname': 'red5\n',
    'etc/machine-id': 'f'.repeat(32),
    'etc/ssh/ssh_host_ed25519_key': 'secret',
    'root/.ssh/authorized_keys': 'ssh-ed25519 AAAA',
    'root/.bash_history': 'passwd\n',
    'etc/cardless/agent.conf': 'AGENT_PROXY=secret',
    'var/log/dpkg.log': 'node log\n',
    'var/log/app/app.log': 'x',
    'var/log/journal/abc/system.journal': 'x',
    'tmp/x': 'x',
    'var/lib/apt/lists/deb_Packages': 'x',
  });
}

export interface Stage {
  readonly folder: string;
  readonly images: string;
  readonly image: Image;
  readonly disk: string;
  /** The disk as it was in the middle of the session: its journal is not written back. */
  readonly crashed: string;
  /** What the node saw at the end, but for its identity. */
  readonly live: ReadonlyMap<string, string>;
}

async function mounted<T>(args: readonly string[], target: string, work: () => Promise<T>): Promise<T> {
  await mkdir(target, { recursive: true });
  await execa('mount', [...args, target]);
  try {
    return await work();
  } finally {
    await execa('umount', [target]);
  }
}

const overlayOptions = 'redirect_dir=off,metacopy=off,index=off,xino=off';

/** A session of a node: its root and its disk put together as the initramfs does it. */
async function session<T>(stage: Pick<Stage, 'folder' | 'disk'>, root: string, work: (merged: string) => Promise<T>): Promise<T> {
  const [base, disk, merged] = ['node-base', 'node-disk', 'node-root'].map((name) => join(stage.folder, name)) as [string, string, string];
  return await mounted(['-o', 'loop,ro', root], base, () =>
    mounted(['-o', 'loop,noatime', stage.disk], disk, async () => {
      await Promise.all(['upper', 'work'].map((name) => mkdir(join(disk, name), { recursive: true })));
      const layers = `lowerdir=${base},upperdir=${join(disk, 'upper')},workdir=${join(disk, 'work')}`;
      return await mounted(['-t', 'overlay', 'overlay', '-o', `${layers},${overlayOptions}`], merged, () => work(merged));
    }),
  );
}

export async function prepareStage(format: RootFormat, changeIt: (root: string) => Promise<void> = change): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'cardless-commit-'));
  const [tree, draft, images] = [join(folder, 'tree'), join(folder, 'draft'), join(folder, 'images')];
  await makeBase(tree);
  await write(draft, { 'boot/vmlinuz': 'kernel', 'boot/initramfs.img': 'initramfs' });
  await packRoot({ tree, output: join(draft, 'root.img'), modules: [], identity: 'base', format, signal });
  const image = await publishImage(
    draft,
    { name: parseImageName('test'), arch: 'amd64', kernelVersion, rootFormat: format },
    images,
    new Date(0),
  );
  const disks = new OverlayDisks({ directory: join(folder, 'overlays'), bytes: 64 * 2 ** 20 });
  const node = parseNodeName('red5');
  await disks.reset(node, image.digest);
  const crashed = join(folder, 'crashed.img');
  const stage = { folder, images, image, disk: disks.pathOf(node, image.digest), crashed };
  const root = join(images, image.digest, 'root.img');
  await session(stage, root, async (merged) => {
    await changeIt(merged);
    await execa('sync', ['--file-system', merged]);
    await execa('cp', ['--sparse=always', stage.disk, crashed]);
  });
  const live = await session(stage, root, treeManifest);
  return { ...stage, live };
}

export async function commitStage(
  stage: Stage,
  options: Partial<CommitOptions['request']['choice']> & { dryRun?: boolean; disk?: string } = {},
): Promise<CommitResult> {
  const { image, images, folder } = stage;
  const { dryRun = false, disk = stage.disk, ...choice } = options;
  return await commitImage({
    request: {
      parent: image.digest,
      imageDirectory: join(images, image.digest),
      arch: image.arch,
      rootFormat: image.rootFormat,
      name: image.name,
      message: 'as changed',
      work: join(folder, 'work', 'commit'),
      images,
      cache,
      choice: { paths: [], exclude: [], keepAptLists: false, ...choice },
      dryRun,
      now: 1000,
    },
    copyDisk: async (target, signal) => {
      const state = await copyAtRest({ disk, target, hold: (held) => holdDisk({ records: folder }, held), signal });
      await checkCopy(parseNodeName('red5'), target, signal);
      return state;
    },
    signal,
    onProgress: () => {},
  });
}

export async function manifestOf(stage: Stage, digest: string): Promise<Map<string, string>> {
  return await mounted(['-o', 'loop,ro', join(stage.images, digest, 'root.img')], join(stage.folder, 'look'), () =>
    treeManifest(join(stage.folder, 'look')),
  );
}

export function onlyDifferences(one: ReadonlyMap<string, string>, other: ReadonlyMap<string, string>): string[] {
  return [...new Set([...one.keys(), ...other.keys()])].filter((path) => one.get(path) !== other.get(path)).toSorted();
}
