/** What rootfs/agent/apply reads on the node: a list of files with what is to be done to each, and their contents. */
import type { NodeSettings } from '../domain/node-settings.ts';
import type { SeedFile } from './seed-file.ts';

const stage = 'usr/lib/cardless/stage';

/** @param isThere files that are in their places already, and only have to be remembered */
export function stagedFiles(files: readonly SeedFile[], accounts: string, isThere: (file: SeedFile) => boolean): SeedFile[] {
  const lines = files.map((file, index) =>
    [kindOf(file, isThere(file)), `f${index}`, mode(file.mode), file.owner ?? '-', file.live ? 'yes' : 'no', `/${file.path}`].join('\t'),
  );
  const contents = files.flatMap((file, index): SeedFile[] => {
    const { text = file.link ?? '', bytes } = file;
    const isNeeded = !isThere(file) && !file.gone && !file.kept;
    return isNeeded ? [{ path: `${stage}/f${index}`, mode: 0o600, ...(bytes ? { bytes } : { text }) }] : [];
  });
  return [
    { path: `${stage}/list`, mode: 0o600, text: lines.map((line) => `${line}\n`).join('') },
    { path: `${stage}/accounts`, mode: 0o600, text: accounts },
    ...contents,
  ];
}

function kindOf({ gone, kept, link }: SeedFile, isThere: boolean): string {
  if (gone && !isThere) {
    return 'gone';
  }
  return isThere || kept ? 'there' : link === undefined ? 'file' : 'link';
}

function mode(bits: number): string {
  return bits.toString(8).padStart(4, '0');
}

/** One line for each user and group, as accounts.awk reads them. */
export function accountsText({ users = [], userGroups = [] }: NodeSettings): string {
  const lines = [
    ...userGroups.map(({ name, gid }) => ['group', name, gid]),
    ...users.map(({ name, uid, shell, groups = [], passwordHash }) => ['user', name, uid, shell, groups.join(','), passwordHash]),
  ];
  return lines.map((words) => `${words.map((word) => (word === undefined || word === '' ? '-' : word)).join('\t')}\n`).join('');
}
