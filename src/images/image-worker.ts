/** A thread for what would hold up the answers to boards: reading, hashing and comparing many files. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  type Stats,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import zlib from 'node:zlib';
import { messageOf, UserError } from '../domain/errors.ts';
import type { ContentEntry, EntryType, ImageContents, InstalledPackage, KernelModules } from '../domain/image-contents.ts';
import { diffContents } from './diff-contents.ts';
import type { AnyTask, HashResult, ImageTasks, ListWithBoot, TaskKind, TaskMessage } from './image-tasks.ts';
import { bytesText } from './import/bytes-text.ts';
import { identifyKernel } from './import/identify-kernel.ts';
import { initramfsModules } from './initramfs-modules.ts';
import { kernelHeadBytes, readKernelFormat } from './kernel-format.ts';
import { moduleName } from './modules.ts';
import { nameText } from './name-text.ts';
import { readApkInstalled, readDpkgStatus } from './package-lists.ts';

const chunk: Buffer = Buffer.allocUnsafe(2 ** 20);
/** One message for so much, or small files would cost the other thread more than their hashing. */
const reportBytes = 8 * 2 ** 20;
/** Lists of packages and modules are read whole. */
const maxTextBytes = 64 * 2 ** 20;
const modulePlaces = ['usr/lib/modules', 'lib/modules'];

let unreported = 0;

function tell(message: TaskMessage): void {
  parentPort?.postMessage(message);
}

function countRead(bytes: number): void {
  unreported += bytes;
  if (unreported >= reportBytes) {
    tell({ kind: 'read', bytes: unreported });
    unreported = 0;
  }
}

function hashFile(file: string | Buffer): Exclude<HashResult, { unreadable: string }> {
  const fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const hash = createHash('sha256');
    let bytes = 0;
    for (let count = readSync(fd, chunk); count > 0; count = readSync(fd, chunk)) {
      hash.update(chunk.subarray(0, count));
      bytes += count;
      countRead(count);
    }
    return { bytes, sha256: hash.digest('hex') };
  } finally {
    closeSync(fd);
  }
}

function hashOrSay(file: string): HashResult {
  try {
    return hashFile(file);
  } catch (error) {
    return { unreadable: messageOf(error) };
  }
}

function gather(tree: string, output: string): undefined {
  const entries: ContentEntry[] = [];
  const slash = Buffer.from('/');
  // In bytes: what is no UTF-8 could not be found again by a string.
  const walk = (directory: Buffer, shown: string): void => {
    for (const name of readdirSync(directory, { encoding: 'buffer' }).toSorted(Buffer.compare)) {
      const file = Buffer.concat([directory, slash, name]);
      const entry = describe(file, `${shown}/${nameText(name)}`);
      entries.push(entry);
      if (entry.type === 'directory') {
        walk(file, entry.path);
      }
    }
  };
  walk(Buffer.from(tree), '');
  const contents: ImageContents = { entries, packages: packagesOf(tree), kernels: kernelsOf(tree) };
  writeFileSync(output, zlib.zstdCompressSync(JSON.stringify(contents)));
}

function describe(file: Buffer, path: string): ContentEntry {
  const found = lstatSync(file);
  const type = typeOf(found);
  const common = { path, type, mode: found.mode & 0o7777, uid: found.uid, gid: found.gid };
  switch (type) {
    case 'file':
      return { ...common, ...hashFile(file) };
    case 'link':
      return { ...common, target: nameText(readlinkSync(file, { encoding: 'buffer' })) };
    case 'device':
      return { ...common, target: `${found.isBlockDevice() ? 'block' : 'character'} ${found.rdev}` };
    default:
      return common;
  }
}

function typeOf(found: Stats): EntryType {
  if (found.isDirectory()) {
    return 'directory';
  }
  if (found.isSymbolicLink()) {
    return 'link';
  }
  if (found.isFile()) {
    return 'file';
  }
  if (found.isFIFO()) {
    return 'fifo';
  }
  return found.isSocket() ? 'socket' : 'device';
}

/** Where a link leads out of the tree nothing is read: it would be a file of the server. */
function textIn(tree: string, path: string): string | undefined {
  const parts = path.split('/');
  const isInside = parts.slice(0, -1).every((_, index) => {
    const found = lstatSync(join(tree, ...parts.slice(0, index + 1)), { throwIfNoEntry: false });
    return found?.isDirectory() === true;
  });
  const file = isInside ? lstatSync(join(tree, path), { throwIfNoEntry: false }) : undefined;
  if (!file?.isFile()) {
    return undefined;
  }
  if (file.size > maxTextBytes) {
    throw new UserError('bad-input', `/${path} in it has ${bytesText(file.size)}: no such file is so long`);
  }
  return readFileSync(join(tree, path), 'utf8');
}

function packagesOf(tree: string): InstalledPackage[] {
  const dpkg = textIn(tree, 'var/lib/dpkg/status');
  const apk = textIn(tree, 'lib/apk/db/installed') ?? textIn(tree, 'usr/lib/apk/db/installed');
  return [...(dpkg === undefined ? [] : readDpkgStatus(dpkg)), ...(apk === undefined ? [] : readApkInstalled(apk))];
}

function kernelsOf(tree: string): KernelModules[] {
  const place = modulePlaces.find((path) => lstatSync(join(tree, path), { throwIfNoEntry: false })?.isDirectory() === true);
  if (place === undefined) {
    return [];
  }
  return readdirSync(join(tree, place))
    .toSorted()
    .flatMap((version): KernelModules[] => {
      const [dep, builtin] = ['modules.dep', 'modules.builtin'].map((name) => textIn(tree, `${place}/${version}/${name}`));
      const names = (text: string | undefined): string[] =>
        (text ?? '').split('\n').flatMap((line) => (line === '' ? [] : [moduleName(line.split(':')[0] ?? '')]));
      return dep === undefined && builtin === undefined ? [] : [{ version, modules: names(dep), builtin: names(builtin) }];
    });
}

function readList(list: string): ImageContents {
  return JSON.parse(zlib.zstdDecompressSync(readFileSync(list)).toString('utf8')) as ImageContents;
}

function readListWithBoot({ list, boot }: ListWithBoot): ImageContents {
  const contents = readList(list);
  return { ...contents, entries: [...contents.entries, ...boot] };
}

function headOf(file: string): Buffer {
  const fd = openSync(file, 'r');
  try {
    const head = Buffer.alloc(kernelHeadBytes);
    return head.subarray(0, readSync(fd, head));
  } finally {
    closeSync(fd);
  }
}

function work(task: AnyTask): ImageTasks[TaskKind]['result'] {
  switch (task.kind) {
    case 'hash':
      return task.files.map(hashOrSay);
    case 'gather':
      return gather(task.tree, task.output);
    case 'summary': {
      const { entries, packages, kernels } = readList(task.list);
      return { packages: packages.length, files: entries.filter((entry) => entry.type === 'file').length, kernels };
    }
    case 'diff':
      return diffContents(readListWithBoot(task.from), readListWithBoot(task.to));
    case 'kernelFormat':
      return readKernelFormat(headOf(task.file));
    case 'identifyKernel':
      return identifyKernel(task.file);
    case 'initramfs':
      return initramfsModules(readFileSync(task.file));
    default:
      task satisfies never;
      return undefined;
  }
}

try {
  tell({ kind: 'done', result: work(workerData as AnyTask) });
} catch (error) {
  tell({ kind: 'refused', message: messageOf(error) });
}
