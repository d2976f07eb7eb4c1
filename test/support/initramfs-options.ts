/** An initramfs of programs and modules that a test makes up. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { InitramfsOptions } from '#src/images/initramfs.ts';
import { writeTree } from './pi-card.ts';

/** @param modulesDep what depmod would say of the modules, which are put beside it later, if at all */
export async function initramfsOptions(folder: string, kernelVersion: string, modulesDep = ''): Promise<InitramfsOptions> {
  const work = join(folder, 'work');
  await mkdir(work, { recursive: true });
  await writeTree(folder, {
    busybox: 'busybox',
    'nbd-attach': 'nbd-attach',
    'modules/modules.dep': modulesDep,
    ...Object.fromEntries(['builtin', 'builtin.modinfo', 'order'].map((name) => [`modules/modules.${name}`, ''])),
  });
  return {
    programs: { busybox: join(folder, 'busybox'), nbdAttach: join(folder, 'nbd-attach') },
    modules: join(folder, 'modules'),
    kernelVersion,
    cache: join(folder, 'cache'),
    work,
    output: join(folder, 'initramfs.img'),
    signal: new AbortController().signal,
  };
}
