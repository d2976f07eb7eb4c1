/**
 * What every initramfs of an architecture has, whatever system the image is made of: Debian's static busybox and our own
 * NBD attacher. Both are made once and kept in the cache; nothing of the image has to run, or to be Debian, for them.
 */
import { createHash } from 'node:crypto';
import { access, chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { projectRoot } from '../config/places.ts';
import { systemCode, UserError } from '../domain/errors.ts';
import type { Architecture } from '../domain/image.ts';
import { renameDurably } from '../process/rename-durably.ts';
import { containedCommand, run } from '../process/run.ts';
import { writeSources } from './apt-sources.ts';
import { readMirrorFailure } from './bootstrap-failure.ts';

/** One release for all images, so that every node runs the same busybox. */
const suite = 'trixie';

const compilers: Record<Architecture, string> = {
  arm64: 'aarch64-linux-gnu-gcc',
  armhf: 'arm-linux-gnueabihf-gcc',
  amd64: 'x86_64-linux-gnu-gcc',
};

export interface NodeProgramsOptions {
  readonly cache: string;
  readonly arch: Architecture;
  readonly signal: AbortSignal;
}

/** Statically linked, executable. */
export interface NodePrograms {
  readonly busybox: string;
  readonly nbdAttach: string;
}

/** Makes what the cache does not have. @throws UserError when Debian's package or the compiler cannot be had */
export async function ensureNodePrograms(options: NodeProgramsOptions): Promise<NodePrograms> {
  const { arch, signal } = options;
  const parent = join(options.cache, 'node-programs');
  const source = await readSource();
  const directory = join(parent, `${arch}-${source.key}`);
  const programs = { busybox: join(directory, 'busybox'), nbdAttach: join(directory, 'nbd-attach') };
  if (await isThere(directory)) {
    return programs;
  }
  await mkdir(parent, { recursive: true });
  const work = await mkdtemp(join(parent, 'making-'));
  try {
    const made = join(work, 'made');
    await mkdir(made);
    const compile = ['-static', '-O2', '-s', '-o', join(made, 'nbd-attach'), ...source.units];
    await run(compilers[arch], compile, { cwd: source.directory, signal });
    await copyFile(await unpackBusybox(arch, work, signal), join(made, 'busybox'));
    await chmod(join(made, 'busybox'), 0o755);
    await renameDurably(made, directory).catch((error: unknown) => {
      // Another build was faster.
      if (systemCode(error) !== 'ENOTEMPTY' && systemCode(error) !== 'EEXIST') {
        throw error;
      }
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return programs;
}

interface AttacherSource {
  readonly directory: string;
  /** What is given to the compiler. */
  readonly units: readonly string[];
  /** Other programs have another one. */
  readonly key: string;
}

async function readSource(): Promise<AttacherSource> {
  const directory = join(projectRoot, 'rootfs/nbd-attach');
  const names = (await readdir(directory)).filter((name) => /\.[ch]$/.test(name)).toSorted();
  const hash = createHash('sha256').update(suite);
  for (const name of names) {
    hash.update(name).update(await readFile(join(directory, name)));
  }
  return { directory, units: names.filter((name) => name.endsWith('.c')), key: hash.digest('hex').slice(0, 12) };
}

/** Unpacked and never run, so any machine can do it for any architecture. */
async function unpackBusybox(arch: Architecture, work: string, signal: AbortSignal): Promise<string> {
  const tree = join(work, 'tree');
  const sources = await writeSources(suite, join(work, 'sources.list'));
  const args = [`--arch=${arch}`, '--variant=extract', '--mode=root', '--include=busybox-static', suite, tree, ...sources];
  const [file, contained] = containedCommand('mmdebstrap', args);
  const said: string[] = [];
  try {
    await run(file, contained, { signal, onLine: (line) => said.push(line) });
  } catch (error) {
    throw (error instanceof UserError && error.code === 'failed' && readMirrorFailure(said, suite)) || error;
  }
  return join(tree, 'usr/bin/busybox');
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
