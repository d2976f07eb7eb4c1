/** Which kernel modules an initramfs needs: pure text work on depmod's files. */
import { UserError } from '../domain/errors.ts';

export interface WantedModule {
  readonly name: string;
  /** Loaded before the hardware is looked at. */
  readonly load: boolean;
}

/** Reads rootfs/initramfs/modules.txt: a name a line, `load` before it, # starts a comment. */
export function readModulesList(text: string): WantedModule[] {
  return text
    .split('\n')
    .map((line) => line.replace(/#.*/, '').trim())
    .filter((line) => line !== '')
    .map((line) => ({ name: line.replace(/^load /, ''), load: line.startsWith('load ') }));
}

/**
 * The files of these modules and of all that they depend on, by the lines of modules.dep
 * (`kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz ...`), sorted. Names that are not there are passed over.
 * @throws UserError bad-input when one of the files is not below the folder of modules.dep
 */
export function moduleClosure(modulesDep: string, names: readonly string[]): string[] {
  const needs = new Map<string, readonly string[]>();
  const byName = new Map<string, string>();
  for (const line of modulesDep.split('\n')) {
    const [file = '', rest = ''] = line.split(':');
    if (file !== '') {
      needs.set(file, rest.trim() === '' ? [] : rest.trim().split(/\s+/));
      byName.set(moduleName(file), file);
    }
  }
  const wanted = new Set<string>();
  const queue = names.map((name) => byName.get(name.replaceAll('-', '_'))).filter((file) => file !== undefined);
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (file.startsWith('/') || file.split('/').includes('..')) {
      throw new UserError('bad-input', `modules.dep names "${file}", which is outside of its folder`);
    }
    if (!wanted.has(file)) {
      wanted.add(file);
      queue.push(...(needs.get(file) ?? []));
    }
  }
  return [...wanted].toSorted();
}

/** The kernel takes dash and underscore in module names for the same. */
export function moduleName(file: string): string {
  return (file.split('/').at(-1) ?? file).replace(/\.ko(\.\w+)?$/, '').replaceAll('-', '_');
}
