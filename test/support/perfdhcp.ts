/** Kea's load generator, out of Debian's packages but not installed: they would bring Kea's servers' user and libraries. */
import { access, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { projectRoot } from '#src/config/places.ts';
import { run } from '#src/process/run.ts';

const program = 'usr/sbin/perfdhcp';

/** A command line that runs it. */
export async function perfdhcpCommand(args: readonly string[]): Promise<readonly [string, readonly string[]]> {
  if (await isThere(`/${program}`)) {
    return [`/${program}`, args];
  }
  const root = join(process.env['CARDLESS_CACHE'] ?? join(homedir(), '.cache/cardless'), 'test/perfdhcp');
  // Libraries that this machine had at that time were not fetched, and may have been removed since.
  if (!(await works(await unpackedCommand(root, ['-v'])))) {
    await unpack(root);
  }
  return await unpackedCommand(root, args);
}

async function unpackedCommand(root: string, args: readonly string[]): Promise<readonly [string, readonly string[]]> {
  const names = (await isThere(join(root, 'usr/lib'))) ? await readdir(join(root, 'usr/lib')) : [];
  const libraries = names.map((name) => join(root, 'usr/lib', name));
  return ['env', [`LD_LIBRARY_PATH=${[join(root, 'usr/lib'), ...libraries].join(':')}`, join(root, program), ...args]];
}

async function unpack(root: string): Promise<void> {
  const draft = `${root}.${process.pid}`;
  const archives = join(draft, 'archives');
  await rm(draft, { recursive: true, force: true });
  await mkdir(join(archives, 'partial'), { recursive: true });
  const apt = ['-y', '-q', '--no-install-recommends', '--download-only', '-o', `Dir::Cache::archives=${archives}`];
  // As root of the sandbox apt would drop to a user that cannot write here.
  await run('apt-get', ['install', ...apt, '-o', 'APT::Sandbox::User=root', 'kea-admin'], { cwd: projectRoot });
  for (const name of await readdir(archives)) {
    if (name.endsWith('.deb')) {
      await run('dpkg', ['-x', join(archives, name), draft]);
    }
  }
  await rm(archives, { recursive: true });
  await rm(root, { recursive: true, force: true });
  await rename(draft, root);
}

async function works(command: readonly [string, readonly string[]]): Promise<boolean> {
  return await run(...command).then(
    () => true,
    () => false,
  );
}

async function isThere(file: string): Promise<boolean> {
  return await access(file).then(
    () => true,
    () => false,
  );
}
