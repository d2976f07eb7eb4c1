/** Any system becomes an image: unpacked, freed of what a network root must not have, packed, published. */
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../../domain/errors.ts';
import type { Architecture, Image, ImageName } from '../../domain/image.ts';
import { removeTree } from '../../process/remove-tree.ts';
import { run } from '../../process/run.ts';
import { type AssembleOptions, assembleImage } from '../assemble.ts';
import { readsErofs } from '../kernel-version.ts';
import { packRoot } from '../pack-root.ts';
import { type OnProgress, section } from '../progress.ts';
import { openTree, type TreeAccess } from '../tree-access.ts';
import { type BootFilesFound, collectBootFiles } from './boot-files.ts';
import { bytesText } from './bytes-text.ts';
import { obtain } from './obtain.ts';
import type { ImportReport, ReportedChange } from './report.ts';
import { rootRules } from './root-rules.ts';
import { missingModules, systemArch, systemName, systemNotes } from './system.ts';
import { sourceName, type Unpacked, unpackSource } from './unpack-source.ts';

export interface ImportRequest {
  /** A file, a directory or an URL. */
  readonly source: string;
  readonly name: ImageName;
  readonly arch: Architecture | undefined;
  readonly sha256: string | undefined;
  /** Say what would be done, and publish nothing. */
  readonly reportOnly: boolean;
}

export interface Imported {
  readonly report: ImportReport;
  /** Absent when only the report was asked for. */
  readonly image?: Image;
}

/** @throws UserError; whatever happens, nothing but a whole image is ever visible */
export async function importImage(request: ImportRequest, options: AssembleOptions): Promise<Imported> {
  const { work, signal, onProgress } = options;
  // What is unpacked has programs with the rights of root, and device nodes: not for other users of this machine.
  await mkdir(work, { recursive: true, mode: 0o700 });
  try {
    const source = await obtain(request.source, { sha256: request.sha256, work, signal, onProgress: section(onProgress, 0, 0.2) });
    const unpacked = await unpackSource(source, { arch: request.arch, work, signal, onProgress: section(onProgress, 0.2, 0.6) });
    const prepared = await prepare(request, unpacked, { work, signal, onProgress: section(onProgress, 0.6, 0.7) });
    if (request.reportOnly) {
      return { report: prepared.report };
    }
    const image = await publish(request.name, unpacked, prepared, options);
    return { report: prepared.report, image };
  } finally {
    await removeTree(work);
  }
}

interface Prepared {
  readonly report: ImportReport;
  readonly found: BootFilesFound;
  readonly boot: string;
  readonly bytes: number;
  readonly identity: string;
}

interface JobOptions {
  readonly work: string;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

async function prepare(request: ImportRequest, unpacked: Unpacked, { work, signal, onProgress }: JobOptions): Promise<Prepared> {
  onProgress({ phase: 'looking at the system', fraction: 0 });
  const tree = openTree(unpacked.tree);
  const arch = await systemArch(tree, request.arch);
  const survey = await surveyTree(unpacked.tree, signal);
  onProgress({ phase: 'collecting the boot files', fraction: 0.3 });
  const boot = join(work, 'boot');
  await mkdir(boot);
  const found = await collectBootFiles({ fat: unpacked.fat, tree, arch, work, boot, signal });
  onProgress({ phase: 'making it a network root', fraction: 0.8 });
  const system = await systemName(tree);
  const changes = await applyRules(tree);
  const report: ImportReport = {
    source: sourceName(request.source),
    kind: unpacked.kind,
    arch,
    system,
    kernels: found.kernels.map(({ file, version, initramfs }) => ({ file, version, initramfs })),
    skippedKernels: found.skipped,
    changes,
    configTxt: { kept: found.config.kept, dropped: found.config.dropped },
    kernelArguments: found.kernelArguments,
    notes: [...unpacked.notes, ...(await systemNotes(tree)), ...(await moduleNotes(found))],
  };
  return { report, found, boot, bytes: survey.bytes, identity: `${survey.fingerprint}${JSON.stringify(changes)}` };
}

async function moduleNotes({ kernels }: BootFilesFound): Promise<string[]> {
  const notes = kernels.map(async ({ file, modules }) => {
    const lists = await Promise.all(['modules.dep', 'modules.builtin'].map((name) => readFile(join(modules, name), 'utf8')));
    const missing = missingModules(lists.join('\n'));
    return missing.length === 0 ? [] : [`${file} has no ${missing.join(' and no ')}: boards cannot attach their root with it`];
  });
  return (await Promise.all(notes)).flat();
}

async function applyRules(tree: TreeAccess): Promise<ReportedChange[]> {
  const reported: ReportedChange[] = [];
  for (const { id, reason, plan } of rootRules) {
    for (const change of await plan(tree)) {
      switch (change.kind) {
        case 'remove':
          await tree.remove(change.path);
          break;
        case 'write':
          await tree.write(change.path, change.content, change.mode);
          break;
        case 'link':
          await tree.link(change.path, change.target);
          break;
        case 'at-boot':
          break;
        default:
          change satisfies never;
      }
      reported.push({ rule: id, reason, path: change.path, what: change.what });
    }
  }
  return reported;
}

/** Files may be holes without end, which cost nothing to unpack and days to pack. */
const maxTreeBytes = 1024 ** 4;
/** The kernel takes paths of 4095 bytes (PATH_MAX), and the path of a folder of this machine comes before each. */
const maxPathBytes = 3072;

/** Every name with its kind, owner, size and time; another tree has another fingerprint. */
async function surveyTree(tree: string, signal: AbortSignal): Promise<{ readonly fingerprint: string; readonly bytes: number }> {
  const script = [
    'set -e -o pipefail; cd "$1"',
    "find . -type f -printf '%s\\n' | awk '{ sum += $1 } END { printf \"%.0f\\n\", sum }'",
    "find . -print0 | tr '\\n\\0' ' \\n' | awk '{ if (length($0) > most) most = length($0) } END { print most + 0 }'",
    "find . \\( -type f -printf '%s %T@ ' -o -true \\) -printf '%y %m %U %G %n %l %p\\0' | sort -z | sha256sum",
  ].join('\n');
  const said = await run('bash', ['-c', script, 'survey', tree], { signal, env: { LC_ALL: 'C' } });
  const [bytes = '0', longest = '0', fingerprint = ''] = said.split('\n');
  if (Number(bytes) > maxTreeBytes) {
    throw new UserError('bad-input', `The files in it are ${bytesText(Number(bytes))} long together, most of it holes`, {
      hint: 'Find them with: find DIRECTORY -size +100G',
    });
  }
  if (Number(longest) > maxPathBytes) {
    throw new UserError('bad-input', `A path in it has ${longest} bytes, and no more than ${maxPathBytes} can be used`, {
      hint: `Find it with: tar -tf FILE | awk 'length($0) > ${maxPathBytes}', or find DIRECTORY instead of tar`,
    });
  }
  return { fingerprint, bytes: Number(bytes) };
}

async function publish(name: ImageName, unpacked: Unpacked, prepared: Prepared, options: AssembleOptions): Promise<Image> {
  const { work, signal, onProgress } = options;
  const { found, report, boot, identity } = prepared;
  const root = join(work, 'root.img');
  const packing = section(onProgress, 0.7, 0.9);
  const modules = found.kernels.map((kernel) => kernel.modules);
  const format = found.kernels.every(({ version }) => readsErofs(version)) ? {} : ({ format: 'squashfs' } as const);
  const rootFormat = await whileGrowing(root, prepared.bytes, packing, () =>
    packRoot({ tree: unpacked.tree, output: root, modules, identity, signal, ...format }),
  );
  await removeTree(unpacked.tree);
  const reportFile = join(work, 'import-report.json');
  await writeFile(reportFile, `${JSON.stringify(report, undefined, 2)}\n`);
  const source = {
    root,
    rootFormat,
    boot,
    kernels: found.kernels,
    configTxt: found.config.kept,
    extras: { 'import-report.json': reportFile },
  };
  const { kept } = found.kernelArguments;
  const identityOfImage = { name, arch: report.arch, ...(kept.length > 0 ? { kernelArguments: kept } : {}) };
  const image = await assembleImage(source, identityOfImage, { ...options, onProgress: section(onProgress, 0.9, 1) });
  onProgress({ phase: 'done', fraction: 1 });
  return image;
}

/** Packers say nothing while they work; their file tells how far they are. Compressed, a root is about half as large. */
async function whileGrowing<T>(file: string, bytes: number, onProgress: OnProgress, work: () => Promise<T>): Promise<T> {
  let most = 0;
  const look = async (): Promise<void> => {
    const size = await stat(file).then(
      (stats) => stats.size,
      () => 0,
    );
    most = Math.max(most, size);
    onProgress({ phase: `packing the root, ${bytesText(most)}`, fraction: Math.min(0.99, most / Math.max(1, bytes / 2)) });
  };
  await look();
  const timer = setInterval(() => void look(), 1000);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}
