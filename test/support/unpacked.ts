/** Programs out of Debian's packages that are not installed: installed, they would start services on this machine. */
import { access, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '#src/config/places.ts';
import { run } from '#src/process/run.ts';

export interface Unpacked {
  /** Of the folder in the cache. */
  readonly name: string;
  readonly packages: readonly string[];
  /** Where the packages have it, without the first slash. */
  readonly program: string;
  /** Below the folder of the architecture's libraries. */
  readonly libraries?: string;
  /** Asks whether it can start. */
  readonly probe: readonly string[];
}

/** A command line that runs it. */
export async function unpackedCommand(wanted: Unpacked, args: readonly string[]): Promise<readonly [string, readonly string[]]> {
  if (await isThere(`/${wanted.program}`)) {
    return [`/${wanted.program}`, args];
  }
  const root = join(process.env['CARDLESS_CACHE'] ?? join(homedir(), '.cache/cardless'), 'test', wanted.name);
  // Libraries that this machine had at that time were not fetched, and may have been removed since.
  if (!(await works(await commandIn(root, wanted, wanted.probe)))) {
    await unpack(root, wanted);
  }
  return await commandIn(root, wanted, args);
}

async function commandIn(
  root: string,
  { program, libraries: own }: Unpacked,
  args: readonly string[],
): Promise<readonly [string, readonly string[]]> {
  const libraries: string[] = [];
  for (const folder of ['usr/lib', 'lib']) {
    const names = (await isThere(join(root, folder))) ? await readdir(join(root, folder)) : [];
    const folders = names.map((name) => join(root, folder, name));
    libraries.push(join(root, folder), ...folders, ...(own === undefined ? [] : folders.map((one) => join(one, own))));
  }
  return ['env', [`LD_LIBRARY_PATH=${libraries.join(':')}`, join(root, program), ...args]];
}

async function unpack(root: string, { packages }: Unpacked): Promise<void> {
  const draft = `${root}.${process.pid}`;
  const archives = join(draft, 'archives');
  await rm(draft, { recursive: true, force: true });
  await mkdir(join(archives, 'partial'), { recursive: true });
  const apt = ['-y', '-q', '--no-install-recommends', '--download-only', '-o', `Dir::Cache::archives=${archives}`];
  // As root of the sandbox apt would drop to a user that cannot write here.
  await run('apt-get', ['install', ...apt, '-o', 'APT::Sandbox::User=root', ...packages], { cwd: projectRoot });
  for (const name of await readdir(archives)) {
    if (name.endsWith('.deb')) {
      await run('dpkg', ['-x', join(archives, name), draft]);
    }
  }
  await rm(archives, { recursive: true });
  await rm(root, { recursive: true, force: true });
  await rename(draft, root);
}

async function works([file, args]: readonly [string, readonly string[]]): Promise<boolean> {
  return await run(file, args, { okCodes: [0, 1] }).then(
    () => true,
    () => false,
  );
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
