import { writeFile } from 'node:fs/promises';
import { run } from '../process/run.ts';

/**
 * Where this machine gets Debian packages from, as sources.list lines for another suite. Empty when it has no Debian
 * mirror (Ubuntu): mmdebstrap then uses Debian's own.
 */
export async function debianSources(suite: string): Promise<string[]> {
  const targets = await run('apt-get', ['indextargets', '--format', '$(ORIGIN)|$(REPO_URI)|$(LABEL)', 'Created-By: Packages']);
  const mirrors = new Map<string, string>();
  for (const line of targets.split('\n')) {
    const [origin = '', uri = '', label = ''] = line.split('|');
    if (origin === 'Debian' && !mirrors.has(label)) {
      mirrors.set(label, uri.replace(/\/$/, ''));
    }
  }
  const components = 'main non-free-firmware';
  const archive = mirrors.get('Debian');
  const security = mirrors.get('Debian-Security');
  return [
    ...(archive ? [`deb ${archive} ${suite} ${components}`, `deb ${archive} ${suite}-updates ${components}`] : []),
    ...(archive && security ? [`deb ${security} ${suite}-security ${components}`] : []),
  ];
}

/** The same in a file, as arguments that mmdebstrap takes after the suite and the target. */
export async function writeSources(suite: string, file: string): Promise<string[]> {
  const sources = await debianSources(suite);
  await writeFile(file, `${sources.join('\n')}\n`);
  return sources.length > 0 ? [file] : [];
}
