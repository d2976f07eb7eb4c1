/**
 * What PCs fetch before a kernel: iPXE, and Debian's signed shim and GRUB. The packages are downloaded and unpacked, never
 * installed: shim's would change the boot loader of the server's own machine, and half of them are of another
 * architecture. All come from one Debian release, so that every server hands out the same ones.
 */
import { createHash } from 'node:crypto';
import { access, copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { projectRoot } from '../config/places.ts';
import { messageOf, systemCode, UserError } from '../domain/errors.ts';
import { renameDurably } from '../process/rename-durably.ts';
import { run } from '../process/run.ts';
import { debianSources } from './apt-sources.ts';

const Programs = z.strictObject({
  suite: z.string(),
  packages: z.array(
    z.strictObject({ name: z.string(), architecture: z.enum(['all', 'amd64', 'arm64']), files: z.record(z.string(), z.string()) }),
  ),
  /** Where an older one may be installed already; taken when there is no download. */
  installed: z.record(z.string(), z.string()),
});
type Programs = z.infer<typeof Programs>;

const manifest = join(projectRoot, 'boot-assets/programs.json');
const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

export interface BootProgramsOptions {
  readonly cache: string;
  readonly signal: AbortSignal;
  readonly note: (text: string) => void;
}

/** The directories in which each program may be, in order. */
export async function bootProgramPlaces(cache: string): Promise<Readonly<Record<string, readonly string[]>>> {
  const { programs, key } = await readManifest();
  const downloaded = join(cache, 'boot-programs', key);
  const names = programs.packages.flatMap((entry) => Object.keys(entry.files));
  return Object.fromEntries(
    names.map((name) => {
      const installed = programs.installed[name];
      return [name, installed === undefined ? [downloaded] : [downloaded, installed]];
    }),
  );
}

/** Downloads what the cache does not have. @throws UserError when apt cannot */
export async function ensureBootPrograms(options: BootProgramsOptions): Promise<void> {
  const { programs, key } = await readManifest();
  const parent = join(options.cache, 'boot-programs');
  const directory = join(parent, key);
  const isThere = await access(directory).then(
    () => true,
    () => false,
  );
  if (isThere) {
    return;
  }
  const names = [...new Set(programs.packages.map((entry) => entry.name))];
  options.note(`downloading ${names.join(', ')} of Debian ${programs.suite} (boot programs for PCs; this is done once)`);
  const work = await workFolder(parent);
  try {
    const apt = await privateApt(programs.suite, work, options.signal);
    const result = join(work, 'result');
    await mkdir(result);
    for (const [index, entry] of programs.packages.entries()) {
      await unpack(entry, join(work, String(index)), result, { apt, signal: options.signal });
    }
    await renameDurably(result, directory).catch((error: unknown) => {
      // Another server was faster.
      if (systemCode(error) !== 'ENOTEMPTY' && systemCode(error) !== 'EEXIST') {
        throw error;
      }
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function workFolder(parent: string): Promise<string> {
  try {
    await mkdir(parent, { recursive: true });
    return await mkdtemp(join(parent, 'download-'));
  } catch (cause) {
    throw new UserError('not-permitted', `${parent} cannot be written to: ${messageOf(cause)}`, { cause });
  }
}

async function readManifest(): Promise<{ programs: Programs; key: string }> {
  const text = await readFile(manifest, 'utf8');
  return { programs: Programs.parse(JSON.parse(text)), key: createHash('sha256').update(text).digest('hex').slice(0, 12) };
}

/** Options for apt with lists of its own: those of this machine are of another release, and of one architecture. */
async function privateApt(suite: string, work: string, signal: AbortSignal): Promise<readonly string[]> {
  const sources = await debianSources(suite);
  if (sources.length === 0) {
    throw new UserError('not-found', "This machine's apt has no source of Debian packages", {
      hint: `Add a Debian mirror of ${suite} to /etc/apt/sources.list.d, signed by ${keyring}`,
    });
  }
  await writeFile(join(work, 'sources.list'), `${sources.join('\n')}\n`);
  await Promise.all(['state/lists/partial', 'apt-cache/archives/partial'].map((path) => mkdir(join(work, path), { recursive: true })));
  const settings = {
    'Dir::Etc::sourcelist': join(work, 'sources.list'),
    'Dir::Etc::sourceparts': '-',
    'Dir::State': join(work, 'state'),
    'Dir::State::status': '/dev/null',
    'Dir::Cache': join(work, 'apt-cache'),
    'APT::Architecture': 'amd64',
    'APT::Architectures': 'amd64,arm64',
    'APT::Sandbox::User': 'root',
    'Acquire::Languages': 'none',
    // A server must not wait for minutes for a network that is not there.
    'Acquire::Retries': '0',
    'Acquire::http::Timeout': '10',
    'Acquire::http::ConnectionAttemptDelayMsec': '250',
    // Else apt-get calls an update without a network a success.
    'APT::Update::Error-Mode': 'any',
  };
  const apt = Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  await run('apt-get', [...apt, 'update', '-q'], { signal });
  return apt;
}

async function unpack(
  entry: Programs['packages'][number],
  directory: string,
  result: string,
  { apt, signal }: { readonly apt: readonly string[]; readonly signal: AbortSignal },
): Promise<void> {
  await mkdir(directory);
  await run('apt-get', [...apt, 'download', '-q', `${entry.name}:${entry.architecture}`], { cwd: directory, signal });
  for (const deb of await readdir(directory)) {
    await run('dpkg-deb', ['-x', join(directory, deb), directory], { signal });
  }
  for (const [name, path] of Object.entries(entry.files)) {
    await copyFile(join(directory, path), join(result, name));
  }
}
