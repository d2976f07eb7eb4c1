/**
 * Everything that comes from outside is written by GNU tar in a chroot of its own: names with "..", absolute names and
 * links lead nowhere but into the tree. The chroot is ours and read-only, with tar and its libraries, and the tree is a
 * folder in it: glibc takes code and settings from its root (ld.so.preload, nsswitch.conf), so that must be no archive's.
 * Owners, modes, ACLs, extended attributes (capabilities), hard links and device nodes stay as they are.
 */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { UserError } from '../../domain/errors.ts';
import { containedCommand, run } from '../../process/run.ts';
import { openTree } from '../tree-access.ts';
import { freeBytes } from './decompress.ts';

/** tar counts in records. */
const recordBytes = 10_240;
const recordsPerReport = 500;

const reporting = `--delay-directory-restore --checkpoint=${recordsPerReport} --checkpoint-action=echo=@%u`;
const attributes = ['--numeric-owner', '--acls', '--xattrs', "--xattrs-include='*'", "--xattrs-exclude='trusted.overlay.*'"].join(' ');

/** What feeds tar's stdin. */
export type TarSource =
  | { readonly kind: 'archive'; readonly file: string }
  /** Lines of bash that mount something on "$mnt", or set it to another directory; "$1" and on are `args`. */
  | { readonly kind: 'directory'; readonly prepare: string; readonly args: readonly string[]; readonly oneFileSystem?: boolean };

export interface TarOptions {
  /** A directory of this job's own, for tools. */
  readonly work: string;
  /** Where it goes; made if it is not there. */
  readonly tree: string;
  /** Within the tree. */
  readonly into?: string;
  readonly signal: AbortSignal;
  readonly onBytes: (bytes: number) => void;
}

/** @throws UserError bad-input, no-space, failed, cancelled */
export async function unpackConfined(source: TarSource, options: TarOptions): Promise<void> {
  const { tree, work, signal } = options;
  const tools = await confinedTools(work, signal);
  await mkdir(tree, { recursive: true });
  // An absolute link would be one of the chroot. One that leads nowhere is in the way of mkdir.
  const real = await openTree(tree).resolve(options.into ?? '');
  const into = real === undefined ? (options.into ?? '') : relative(tree, real);
  const confined = 'chroot "$tools" /ld.so --library-path /';
  const script = [
    'set -e -o pipefail',
    'tools="$1" tree="$2" into="/tree/$3" mnt="$1.mnt"; shift 3',
    'mkdir -p "$mnt"',
    'mount --bind "$tools" "$tools"',
    'mount --bind "$tree" "$tools/tree"',
    'mount -o remount,bind,ro "$tools"',
    // Without exec no library of the tree can be loaded either.
    'mount -o remount,bind,nosuid,nodev,noexec "$tools/tree"',
    `${confined} /mkdir -p "$into"`,
    `extract() { ${confined} /tar -x -f - -p --same-owner ${attributes} ${reporting} -C "$into"; }`,
    source.kind === 'archive'
      ? 'extract <"$1"'
      : `${source.prepare}\ntar -C "$mnt" -c --sparse -f - ${source.oneFileSystem ? '--one-file-system' : ''} ${attributes} --warning=no-file-ignored . | extract`,
  ].join('\n');
  const args = source.kind === 'archive' ? [source.file] : source.args;
  const [file, contained] = containedCommand('bash', ['-c', script, 'unpack', tools, tree, into, ...args]);
  const complaints: string[] = [];
  const full = new AbortController();
  // What tar reads is less than what it fills: small files take a block each, and sizes are not known before.
  const stopWhenFull = async (): Promise<void> => {
    if ((await freeBytes(tree)) === 0) {
      full.abort();
    }
  };
  const onLine = (line: string): void => {
    const records = /^tar: @(\d+)/.exec(line)?.[1];
    if (records !== undefined) {
      options.onBytes(Number(records) * recordBytes);
      // Where this cannot be known, tar itself meets the end of the disk.
      stopWhenFull().catch(() => undefined);
    } else if (leadsOut.test(line)) {
      complaints.push(line);
    }
  };
  const failure = await run(file, contained, { signal: AbortSignal.any([signal, full.signal]), env: { LC_ALL: 'C' }, onLine }).then(
    () => undefined,
    (error: unknown) => understood(error),
  );
  await stopWhenFull();
  if (full.signal.aborted) {
    throw new UserError('no-space', 'It unpacks to more than what is free', {
      hint: 'Free some space, or put the state folder on a larger disk; nothing half-made was kept',
    });
  }
  if (complaints.length > 0) {
    throw new UserError('bad-input', 'The archive has names that lead out of it with ".."; nothing of it was kept', {
      hint: 'No program makes such an archive of a root by itself. Look at it with: tar -tvf FILE | grep -F ..',
    });
  }
  if (failure !== undefined) {
    throw failure;
  }
}

const leadsOut = /Removing leading .*\.\.\/|Member name contains '\.\.'/;
/** tar's words for archives that are broken. */
const broken = /Unexpected EOF|does not look like a tar archive|Skipping to next header|invalid tar header/;

function understood(error: unknown): unknown {
  if (!(error instanceof UserError) || error.code !== 'failed') {
    return error;
  }
  const said = error.message.split('\n').flatMap((line) => /tar: (?!@\d|Exiting)(.*)/.exec(line)?.[1] ?? []);
  const reason = said.length > 0 ? said.join('\n') : error.message;
  return broken.test(reason)
    ? new UserError('bad-input', `The archive is damaged or cut short: ${reason}`, { cause: error, hint: 'Fetch it again' })
    : new UserError('bad-input', `It cannot be unpacked: ${reason}`, { cause: error });
}

/** The programs and what they are linked with, in one folder; it knows no users, and asks nothing but its own files for them. */
async function confinedTools(work: string, signal: AbortSignal): Promise<string> {
  const tools = join(work, 'tools');
  const made = await mkdir(tools, { recursive: true });
  if (made !== undefined) {
    await Promise.all(['tree', 'etc'].map((name) => mkdir(join(tools, name))));
    await writeFile(join(tools, 'etc/nsswitch.conf'), 'passwd: files\ngroup: files\n');
    await Promise.all(['passwd', 'group'].map((name) => writeFile(join(tools, 'etc', name), '')));
    for (const name of ['tar', 'mkdir']) {
      const program = await run('bash', ['-c', `type -P ${name}`], { signal });
      const libraries = (await run('ldd', [program], { signal })).split('\n').flatMap((line) => /(\/\S+)/.exec(line)?.[1] ?? []);
      for (const library of libraries) {
        await copyFile(library, join(tools, /\/ld-[^/]*$/.test(library) ? 'ld.so' : basename(library)));
      }
      await copyFile(program, join(tools, name));
    }
  }
  return tools;
}
