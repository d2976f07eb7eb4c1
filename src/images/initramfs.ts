/** Builds the initramfs of an image from its kernel's modules, busybox and our own programs. Nothing of it is run. */
import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { projectRoot } from '../config/places.ts';
import { systemCode, UserError } from '../domain/errors.ts';
import { renameDurably } from '../process/rename-durably.ts';
import { politeCommand, run } from '../process/run.ts';
import { bytesText } from './import/bytes-text.ts';
import { decompress } from './import/decompress.ts';
import { readsZstd } from './kernel-version.ts';
import { moduleClosure, readModulesList } from './modules.ts';
import type { NodePrograms } from './node-programs.ts';
import { sha256Files } from './publish.ts';
import { lstatIfThere } from './tree-access.ts';

/** What init, the udhcpc script and a person at a rescue console call. */
const applets =
  'sh cat chmod chroot cp date dmesg find grep ip kill ln ls lsmod mkdir modprobe mount mv ping ps reboot rm sed sleep sort switch_root sync tac tail tar tr udhcpc umount uname wget xargs';

/** Of rootfs/initramfs, and where they go. */
const scripts: Readonly<Record<string, string>> = {
  init: 'init',
  'udhcpc.script': 'etc/udhcpc.script',
  'keep-address': 'bin/keep-address',
  shutdown: 'shutdown',
};

/** Raise when the code below makes another archive from the same input. */
const builderVersion = 1;
const keptInitramfs = 20;
const source = join(projectRoot, 'rootfs');
const depmodInputs = ['modules.builtin', 'modules.builtin.modinfo', 'modules.order'] as const;
const indexes = ['modules.dep', ...depmodInputs] as const;
/** The largest of Debian 13, amdgpu, has 4 MB packed; an image may be made for harm. */
const maxModuleBytes = 64 * 1024 ** 2;
const maxModulesBytes = 1024 ** 3;
const packers = { xz: 'xz', zst: 'zstd', gz: 'gzip' } as const;

export interface InitramfsOptions {
  readonly programs: NodePrograms;
  /** The kernel's modules directory, with modules.dep. */
  readonly modules: string;
  readonly kernelVersion: string;
  /** Where one that was built before is found again. */
  readonly cache: string;
  /** An empty directory to work in. */
  readonly work: string;
  readonly output: string;
  readonly signal: AbortSignal;
}

/**
 * The same kernel and the same sources give the same bytes, so one that was built before is taken from the cache.
 * @throws UserError bad-input for modules that are none
 */
export async function buildInitramfs(options: InitramfsOptions): Promise<void> {
  const wanted = readModulesList(await readFile(join(source, 'initramfs/modules.txt'), 'utf8'));
  const dep = await readFile(join(options.modules, 'modules.dep'), 'utf8');
  const files = moduleClosure(
    dep,
    wanted.map((module) => module.name),
  );
  await requireModules(options.modules, files);
  const cached = join(options.cache, 'initramfs', `${await contentKey(options, files)}.img`);
  if (await takeCached(cached, options.output)) {
    return;
  }
  const tree = join(options.work, 'initramfs');
  await copyPrograms(options.programs, tree);
  await copyModules(options, files, tree);
  const atStart = wanted.filter((module) => module.load).map((module) => module.name);
  await writeFile(join(tree, 'etc/modules'), `${atStart.join('\n')}\n`);
  await pack(tree, options);
  await keep(options.output, cached);
}

/** Changes with everything that goes in. depmod's lists stand for how the modules depend on each other. */
async function contentKey(options: InitramfsOptions, files: readonly string[]): Promise<string> {
  const { programs, modules, kernelVersion, signal } = options;
  const isZstd = readsZstd(kernelVersion);
  const inputs = [
    ...Object.values(programs),
    ...(await readdir(join(source, 'initramfs'))).toSorted().map((name) => join(source, 'initramfs', name)),
    ...[...indexes, ...files].map((name) => join(modules, name)),
  ];
  const hashes = await sha256Files(inputs, signal);
  const content = JSON.stringify({ builderVersion, applets, scripts, kernelVersion, isZstd, files, hashes });
  return createHash('sha256').update(content).digest('hex').slice(0, 16);
}

/** Before any of them is read: one may be a hole of any length. */
async function requireModules(directory: string, files: readonly string[]): Promise<void> {
  const count = countModules();
  for (const file of files) {
    const found = await lstatIfThere(join(directory, file));
    if (!found?.isFile()) {
      throw new UserError('bad-input', `modules.dep names ${file}, which is no file`, {
        hint: 'Make it again in that system: depmod KERNEL-VERSION',
      });
    }
    count(file, found.size);
  }
}

function countModules(): (file: string, bytes: number) => void {
  let total = 0;
  return (file, bytes) => {
    total += bytes;
    if (bytes > maxModuleBytes) {
      throw new UserError('bad-input', `The kernel module ${file} has ${bytesText(bytes)}: none is so large`);
    }
    if (total > maxModulesBytes) {
      throw new UserError('bad-input', `The kernel modules of the initramfs have more than ${bytesText(maxModulesBytes)} together`);
    }
  };
}

async function takeCached(cached: string, output: string): Promise<boolean> {
  try {
    await copyFile(cached, output);
    const now = new Date();
    await utimes(cached, now, now);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') {
      return false;
    }
    throw error;
  }
}

/** BOUNDED: keptInitramfs; those that were not used for longest are deleted. */
async function keep(output: string, cached: string): Promise<void> {
  const directory = dirname(cached);
  await mkdir(directory, { recursive: true });
  const partial = await mkdtemp(join(directory, 'partial-'));
  await copyFile(output, join(partial, 'initramfs.img'));
  await renameDurably(join(partial, 'initramfs.img'), cached);
  await rm(partial, { recursive: true });
  const kept = (await readdir(directory)).filter((name) => name.endsWith('.img')).map((name) => join(directory, name));
  const used = await Promise.all(kept.map(async (file) => ({ file, at: (await stat(file)).mtimeMs })));
  const old = used.toSorted((a, b) => b.at - a.at).slice(keptInitramfs);
  await Promise.all(old.map(({ file }) => rm(file, { force: true })));
}

async function copyPrograms(programs: NodePrograms, tree: string): Promise<void> {
  await Promise.all(['bin', 'sbin', 'etc', 'dev', 'proc', 'sys', 'run', 'tmp'].map((name) => mkdir(join(tree, name), { recursive: true })));
  for (const [name, file] of Object.entries({ busybox: programs.busybox, 'nbd-attach': programs.nbdAttach })) {
    await copyFile(file, join(tree, 'bin', name));
    await chmod(join(tree, 'bin', name), 0o755);
  }
  await Promise.all(applets.split(' ').map((name) => symlink('busybox', join(tree, 'bin', name))));
  // Where the kernel itself looks for modprobe.
  await symlink('../bin/modprobe', join(tree, 'sbin/modprobe'));
  for (const [name, target] of Object.entries(scripts)) {
    await copyFile(join(source, 'initramfs', name), join(tree, target));
  }
}

async function copyModules(options: InitramfsOptions, files: readonly string[], tree: string): Promise<void> {
  const target = join(tree, 'lib/modules', options.kernelVersion);
  // A kernel may have all of them built in.
  await mkdir(target, { recursive: true });
  const count = countModules();
  for (const file of files) {
    const to = join(target, file.replace(/\.(xz|zst|gz)$/, ''));
    await mkdir(dirname(to), { recursive: true });
    await copyModule(join(options.modules, file), to, options.signal);
    count(file, (await stat(to)).size);
  }
  for (const name of depmodInputs) {
    await copyFile(join(options.modules, name), join(target, name));
  }
  await run('depmod', ['-b', tree, options.kernelVersion], { signal: options.signal });
  // Only depmod needs these, and they are as large as all the modules.
  await Promise.all(
    (await readdir(target))
      .filter((name) => /^modules\./.test(name) && !/^modules\.(dep|alias)$/.test(name))
      .map((name) => rm(join(target, name))),
  );
}

async function copyModule(from: string, to: string, signal: AbortSignal): Promise<void> {
  const by = Object.entries(packers).find(([ending]) => from.endsWith(`.${ending}`))?.[1];
  if (by === undefined) {
    await copyFile(from, to);
  } else {
    await decompress({ input: from, output: to, by, maxBytes: maxModuleBytes, signal, onProgress: () => {} });
    await chmod(to, 0o644);
  }
}

/** newc, sorted, without times or inode numbers: the same input gives the same bytes. */
async function pack(tree: string, { kernelVersion, output, work, signal }: InitramfsOptions): Promise<void> {
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
  if (readsZstd(kernelVersion)) {
    await run(...politeCommand('zstd', ['-q', '-19', '-T1', '-f', archive, '-o', output]), { signal });
  } else {
    await run(...politeCommand('gzip', ['-9', '--no-name', archive]), { signal });
    await rename(`${archive}.gz`, output);
  }
}
