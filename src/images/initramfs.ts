/** Builds the initramfs of an image from its kernel's modules, busybox and our own programs. Nothing of it is run. */
import { chmod, copyFile, mkdir, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { projectRoot } from '../config/places.ts';
import type { Architecture } from '../domain/image.ts';
import { run } from '../process/run.ts';
import { moduleClosure, readModulesList } from './modules.ts';

/** What init, the udhcpc script and a person at a rescue console call. */
const applets =
  'sh cat chmod cp date dmesg find grep ip kill ln ls lsmod mkdir modprobe mount mv ping ps reboot rm sed sleep sort switch_root sync tac tail tar tr udhcpc umount uname wget xargs';

/** Of rootfs/initramfs, and where they go. */
const scripts: Readonly<Record<string, string>> = {
  init: 'init',
  'udhcpc.script': 'etc/udhcpc.script',
  'keep-address': 'bin/keep-address',
  shutdown: 'shutdown',
};

const compilers: Record<Architecture, string> = { arm64: 'aarch64-linux-gnu-gcc', amd64: 'x86_64-linux-gnu-gcc' };

export interface InitramfsOptions {
  readonly arch: Architecture;
  /** The kernel's modules directory, with modules.dep. */
  readonly modules: string;
  readonly kernelVersion: string;
  readonly busybox: string;
  /** An empty directory to work in. */
  readonly work: string;
  readonly output: string;
  readonly signal: AbortSignal;
}

export async function buildInitramfs(options: InitramfsOptions): Promise<void> {
  const { work, signal } = options;
  const tree = join(work, 'initramfs');
  const source = join(projectRoot, 'rootfs');
  await Promise.all(['bin', 'sbin', 'etc', 'dev', 'proc', 'sys', 'run', 'tmp'].map((name) => mkdir(join(tree, name), { recursive: true })));
  await copyFile(options.busybox, join(tree, 'bin/busybox'));
  await chmod(join(tree, 'bin/busybox'), 0o755);
  await Promise.all(applets.split(' ').map((name) => symlink('busybox', join(tree, 'bin', name))));
  // Where the kernel itself looks for modprobe.
  await symlink('../bin/modprobe', join(tree, 'sbin/modprobe'));
  for (const [name, target] of Object.entries(scripts)) {
    await copyFile(join(source, 'initramfs', name), join(tree, target));
  }
  await run(
    compilers[options.arch],
    ['-static', '-O2', '-s', '-o', join(tree, 'bin/nbd-attach'), join(source, 'nbd-attach/nbd-attach.c')],
    { signal },
  );
  await copyModules(options, tree);
  await pack(tree, options.output, work, signal);
}

async function copyModules(options: InitramfsOptions, tree: string): Promise<void> {
  const wanted = readModulesList(await readFile(join(projectRoot, 'rootfs/initramfs/modules.txt'), 'utf8'));
  const dep = await readFile(join(options.modules, 'modules.dep'), 'utf8');
  const files = moduleClosure(
    dep,
    wanted.map((module) => module.name),
  );
  const target = join(tree, 'lib/modules', options.kernelVersion);
  for (const file of files) {
    const to = join(target, file.replace(/\.(xz|zst|gz)$/, ''));
    await mkdir(dirname(to), { recursive: true });
    await copyFile(join(options.modules, file), file.endsWith('.ko') ? to : join(dirname(to), file.split('/').at(-1) ?? file));
    await decompress(join(dirname(to), file.split('/').at(-1) ?? file), options.signal);
  }
  for (const name of ['modules.builtin', 'modules.builtin.modinfo', 'modules.order']) {
    await copyFile(join(options.modules, name), join(target, name));
  }
  await run('depmod', ['-b', tree, options.kernelVersion], { signal: options.signal });
  // Only depmod needs these, and they are as large as all the modules.
  await Promise.all(
    (await readdir(target))
      .filter((name) => /^modules\./.test(name) && !/^modules\.(dep|alias)$/.test(name))
      .map((name) => rm(join(target, name))),
  );
  const atStart = wanted.filter((module) => module.load).map((module) => module.name);
  await writeFile(join(tree, 'etc/modules'), `${atStart.join('\n')}\n`);
}

async function decompress(file: string, signal: AbortSignal): Promise<void> {
  if (file.endsWith('.xz')) {
    await run('xz', ['-d', file], { signal });
  } else if (file.endsWith('.zst')) {
    await run('zstd', ['-q', '-d', '--rm', file], { signal });
  } else if (file.endsWith('.gz')) {
    await run('gzip', ['-d', file], { signal });
  }
}

/** newc, sorted, without times or inode numbers: the same input gives the same bytes. */
async function pack(tree: string, output: string, work: string, signal: AbortSignal): Promise<void> {
  const names = (await readdir(tree, { recursive: true, withFileTypes: true })).map((entry) => ({
    path: join(entry.parentPath, entry.name),
    isLink: entry.isSymbolicLink(),
  }));
  for (const { path, isLink } of names) {
    await (isLink ? run('touch', ['-h', '-d', '@0', path]) : utimes(path, 0, 0));
  }
  const list = names.map(({ path }) => path.slice(tree.length + 1)).toSorted();
  const archive = join(work, 'initramfs.cpio');
  await run('cpio', ['--quiet', '-o', '-H', 'newc', '-R', '+0:+0', '--reproducible', '-F', archive], {
    cwd: tree,
    input: `${list.join('\n')}\n`,
    signal,
  });
  await run('zstd', ['-q', '-19', '-T1', '-f', archive, '-o', output], { signal });
}
