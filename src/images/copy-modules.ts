/** The modules of a kernel, out of a tree that came from outside. */
import { appendFile, lstat, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../domain/errors.ts';
import { run } from '../process/run.ts';
import { bytesText } from './import/bytes-text.ts';
import type { TreeAccess } from './tree-access.ts';

export interface CopyModulesOptions {
  readonly tree: TreeAccess;
  /** Where each version gets a folder. */
  readonly copies: string;
  readonly signal: AbortSignal;
}

const moduleLists = ['modules.builtin', 'modules.builtin.modinfo', 'modules.order'];
/** Those of distributions have 2 MB at most. */
const maxModuleListBytes = 16 * 1024 ** 2;
/** It becomes the name of folders, and a word for programs that take what begins with a dash for an option. */
const plainVersion = /^\w[\w.+~-]*$/;

/** Debian's /lib is a link to usr/lib; where it is not, modules are in /lib. */
export async function moduleVersions(tree: TreeAccess): Promise<string[]> {
  const names = [...(await tree.list('usr/lib/modules')), ...(await tree.list('lib/modules'))];
  return [...new Set(names)].filter((name) => plainVersion.test(name));
}

/**
 * A copy without links, whose modules.dep names nothing outside of it: the initramfs is made by programs that follow
 * both. Undefined when there are none.
 * @throws UserError bad-input
 */
export async function copyModules(version: string, { tree, copies, signal }: CopyModulesOptions): Promise<string | undefined> {
  if (!plainVersion.test(version)) {
    return undefined;
  }
  const target = join(copies, version);
  for (const folder of [`usr/lib/modules/${version}`, `lib/modules/${version}`]) {
    const dependencies = await tree.read(`${folder}/modules.dep`);
    const real = await tree.resolve(folder);
    if (dependencies === undefined || real === undefined) {
      continue;
    }
    await requireShortLists(tree, folder);
    if (/(^|[\s/])\.\.\/|^\/|\s\//m.test(dependencies)) {
      throw new UserError('bad-input', `${folder}/modules.dep names files outside of its folder`);
    }
    await mkdir(copies, { recursive: true });
    // Of several kernel files of one version.
    if (!(await readdir(copies)).includes(version)) {
      await run('cp', ['-a', real, target], { signal });
      await run('find', [target, '-not', '-type', 'f', '-not', '-type', 'd', '-delete'], { signal });
      // Kernels before 5.2 have no modules.builtin.modinfo, and nobody misses what is empty.
      await Promise.all(moduleLists.map((name) => appendFile(join(target, name), '')));
    }
    return target;
  }
  return undefined;
}

/** They are read whole. */
async function requireShortLists(tree: TreeAccess, folder: string): Promise<void> {
  for (const name of (await tree.list(folder)).filter((one) => one.startsWith('modules.'))) {
    const real = await tree.resolve(`${folder}/${name}`);
    const size = real === undefined ? 0 : (await lstat(real)).size;
    if (size > maxModuleListBytes) {
      throw new UserError('bad-input', `/${folder}/${name} in it has ${bytesText(size)}: no list of modules is so long`, {
        hint: `Make it again in that system: depmod ${folder.slice(folder.lastIndexOf('/') + 1)}`,
      });
    }
  }
}
