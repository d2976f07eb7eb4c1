/**
 * Makes a commit, in a process of its own: comparing and packing must not hold up the answers to boards, and its mounts
 * are gone when it is, whatever ends it. Reads a CommitRequest, prints a CommitLine at a time.
 */
import { createHash } from 'node:crypto';
import { cp, lstat, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, systemCode, UserError } from '../../domain/errors.ts';
import { assembleImage, initramfsFile, type KernelSource } from '../assemble.ts';
import { copyModules, moduleVersions } from '../copy-modules.ts';
import { packRoot } from '../pack-root.ts';
import { type OnProgress, section } from '../progress.ts';
import { sha256File } from '../publish.ts';
import { copyPlainFile, openTree, type TreeAccess } from '../tree-access.ts';
import { type Change, countChanges } from './change.ts';
import { readDiff } from './diff.ts';
import { planKernel } from './kernel.ts';
import { isFolder, type Layers, mountLayers, mountMerged } from './layers.ts';
import { type CommitLine, type CommitReport, CommitRequest, ParentManifest } from './messages.ts';
import { prune } from './prune.ts';
import { type Selection, select } from './selection.ts';
import { readXattrs } from './xattrs.ts';

/** Ten thousand lines are more than anybody reads; what a distribution's upgrade changes is several times that. */
const listed = 10_000;
const packingPollMs = 500;
const aclPrefix = 'system.posix_acl_';

const signal = new AbortController().signal;
const onProgress: OnProgress = ({ phase, fraction }) => say({ phase, fraction });

try {
  const request = CommitRequest.parse(JSON.parse(await readFile(process.argv[2] ?? '', 'utf8')));
  say({ report: await commit(request) });
} catch (error) {
  say({ error: describe(error) });
  process.exitCode = 1;
}

async function commit(request: CommitRequest): Promise<CommitReport> {
  const { work, imageDirectory, rootFormat, disk } = request;
  onProgress({ phase: 'reading the overlay', fraction: 0.02 });
  const layers = await mountLayers({ root: join(imageDirectory, 'root.img'), rootFormat, disk, work, signal });
  if (!(await isFolder(layers.upper))) {
    throw nothingToCommit([]);
  }
  let seen = 0;
  const onPath = (): void => {
    seen += 1;
    if (seen % 100 === 0) {
      onProgress({ phase: 'comparing with the image', fraction: Math.min(0.25, 0.05 + seen / 50_000) });
    }
  };
  const diff = await readDiff({ ...layers, signal, onPath });
  const selection = select(diff.changes, request.choice);
  const report = reportOf(selection);
  if (request.dryRun) {
    return report;
  }
  if (selection.taken.length === 0) {
    throw nothingToCommit(selection.leftOut);
  }
  onProgress({ phase: 'leaving out what is this node alone', fraction: 0.25 });
  await prune(selection.leftOut, { ...layers, opaque: diff.opaque, signal });
  const published = await pack(request, layers, selection);
  return { ...report, notes: published.notes, digest: published.digest };
}

async function pack(
  request: CommitRequest,
  layers: Layers,
  { taken }: Selection,
): Promise<Required<Pick<CommitReport, 'digest'>> & Pick<CommitReport, 'notes'>> {
  const { work, imageDirectory, rootFormat, arch, name, parent, message, images, cache } = request;
  const merged = await mountMerged(layers, work, signal);
  // The node made its links: they lead about in its tree, never into the files of this machine.
  const tree = openTree(merged);
  const inherited = ParentManifest.parse(JSON.parse(await readFile(join(imageDirectory, 'manifest.json'), 'utf8')));
  const { configTxt, kernelArguments, dataVolume } = inherited;
  const parents = inherited.kernels ?? [{ version: inherited.kernelVersion, initramfs: initramfsFile }];
  const plan = planKernel({
    arch,
    current: parents.map(({ version }) => version),
    before: await completeVersions(openTree(layers.base)),
    now: await completeVersions(tree),
    kernels: (await tree.list('boot')).flatMap((file) => /^vmlinuz-(.+)$/.exec(file)?.[1] ?? []),
  });
  const newKernel = plan.kind === 'new' ? plan.version : undefined;
  const kernels: KernelSource[] = [];
  for (const kernel of parents) {
    const version = newKernel ?? kernel.version;
    const modules = await copyModules(version, { tree, copies: join(work, 'modules'), signal });
    if (modules === undefined) {
      throw new UserError('bad-input', `The modules of the kernel ${version} cannot be read in the node's tree`);
    }
    kernels.push({ ...kernel, version, modules });
  }
  const [first, ...others] = kernels;
  if (!first) {
    throw new UserError('failed', 'The image has no kernel');
  }
  const boot = join(work, 'boot');
  await cp(join(imageDirectory, 'boot'), boot, { recursive: true });
  await Promise.all(parents.map(({ initramfs }) => rm(join(boot, initramfs), { force: true })));
  if (newKernel !== undefined) {
    const file = inherited.kernels?.[0]?.file ?? 'vmlinuz';
    const real = await tree.resolve(`boot/vmlinuz-${newKernel}`);
    if (real === undefined || !(await copyPlainFile(real, join(boot, file)))) {
      throw new UserError('bad-input', `/boot/vmlinuz-${newKernel} on the node is not a file, and leads to none in its root`);
    }
  }
  const output = join(work, 'root.img');
  const expected = (await stat(join(imageDirectory, 'root.img'))).size;
  const identity = await identityOf(parent, taken, merged);
  const packing = packRoot({ tree: merged, output, modules: [first.modules], identity, format: rootFormat, signal });
  await watchSize(output, expected, packing, section(onProgress, 0.3, 0.75));
  const image = await assembleImage(
    { root: output, rootFormat, boot, kernels: [first, ...others], ...(configTxt ? { configTxt } : {}) },
    { name, arch, ...(kernelArguments ? { kernelArguments } : {}), ...(dataVolume === undefined ? {} : { dataVolume }) },
    {
      images,
      cache,
      work: join(work, 'assembly'),
      signal,
      onProgress: section(onProgress, 0.75, 1),
      now: new Date(request.now),
      lineage: { parent, ...(message === undefined ? {} : { message }) },
    },
  );
  const notes = notesOf(taken, newKernel);
  return { digest: image.digest, notes: rootFormat === 'squashfs' ? [...notes, ...(await lostLists(taken, merged))] : notes };
}

function nothingToCommit(leftOut: Selection['leftOut']): UserError {
  const kept = leftOut.length === 0 ? '' : `: all ${leftOut.length} changes are left out`;
  return new UserError('failed', `There is nothing to commit${kept}`, {
    hint: 'cardless image commit --dry-run shows what was changed and what is left out, and why',
  });
}

function reportOf({ taken, leftOut }: Selection): CommitReport {
  return {
    counts: countChanges(taken),
    changes: taken.slice(0, listed),
    leftOut: leftOut.slice(0, listed),
    isCut: taken.length > listed || leftOut.length > listed,
    notes: [],
  };
}

function notesOf(taken: readonly Change[], newKernel: string | undefined): string[] {
  const isBootFile = ({ path, type }: Change): boolean => type !== 'directory' && /^\/boot\/(firmware\/|.*\.(dtb|elf|bin)$)/.test(path);
  return [
    ...(newKernel === undefined ? [] : [`boots the kernel ${newKernel}, which was installed on the node`]),
    ...(taken.some(isBootFile)
      ? ['files below /boot/firmware are in the root, but boards fetch the boot files of the parent, which stay as they were']
      : []),
  ];
}

/** mksquashfs packs attributes of users, of the system's security and of root, and no others. */
async function lostLists(taken: readonly Change[], merged: string): Promise<string[]> {
  const paths = taken.filter(({ change }) => change !== 'removed').map(({ path }) => join(merged, path));
  const lost = [...(await readXattrs(paths, signal))].filter(([, names]) => [...names.keys()].some((name) => name.startsWith(aclPrefix)));
  return lost.map(([path]) => `squashfs keeps no access control lists: that of ${path.slice(merged.length)} is not in the image`);
}

/** Those that depmod has seen: a folder of headers alone is no kernel. */
async function completeVersions(tree: TreeAccess): Promise<string[]> {
  const versions = await moduleVersions(tree);
  const complete = await Promise.all(
    versions.map(async (version) => {
      const names = await Promise.all(['usr/lib', 'lib'].map((folder) => tree.list(`${folder}/modules/${version}`)));
      return names.flat().includes('modules.dep') ? [version] : [];
    }),
  );
  return complete.flat();
}

/** Another content has another text: the root's UUID follows it. */
async function identityOf(parent: string, taken: readonly Change[], merged: string): Promise<string> {
  const hash = createHash('sha256').update(parent);
  for (const change of taken) {
    hash.update(JSON.stringify(change));
    if (change.change !== 'removed') {
      const { mode, uid, gid } = await lstat(join(merged, change.path));
      hash.update(JSON.stringify([mode, uid, gid, change.type === 'file' ? await sha256File(join(merged, change.path)) : '']));
    }
  }
  return hash.digest('hex');
}

/** The new root will be about as large as the one it came from. */
async function watchSize(file: string, expected: number, work: Promise<unknown>, report: OnProgress): Promise<void> {
  const look = async (): Promise<void> => {
    const size = await stat(file).then(
      (found) => found.size,
      () => 0,
    );
    report({ phase: 'packing the root', fraction: Math.min(1, size / expected) });
  };
  const timer = setInterval(() => void look(), packingPollMs);
  try {
    await work;
  } finally {
    clearInterval(timer);
  }
}

function describe(error: unknown): Extract<CommitLine, { error: unknown }>['error'] {
  if (error instanceof UserError) {
    return { code: error.code, message: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) };
  }
  const isFull = systemCode(error) === 'ENOSPC';
  return { code: isFull ? 'no-space' : 'failed', message: messageOf(error) };
}

function say(line: CommitLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
