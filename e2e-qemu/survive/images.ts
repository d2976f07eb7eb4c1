/** All images of the outage tests, made once. */
import { readFileSync } from 'node:fs';
import { publishSurvivors, type Variant } from '../../test/support/survive/test-image.ts';

/** An attacher that never comes back, and a shorter deadline to wait for. */
const hangs: Variant = {
  files: {
    'bin/nbd-attach': '#!/bin/sh\nexec sleep 100000\n',
    init: readFileSync('rootfs/initramfs/init', 'utf8').replace(/^deadline=\d+$/m, 'deadline=120'),
  },
};

const impatient = ['-DREQUEST_TIMEOUT_S=10'];
const noUserTimeout = [...impatient, '-DUSER_TIMEOUT_MS=0'];

let made: Promise<string> | undefined;

export function images(): Promise<string> {
  made ??= publishSurvivors({
    debian: true,
    variants: {
      hangs,
      impatient: { flags: impatient },
      aborts: { flags: noUserTimeout },
      forgets: { flags: [...noUserTimeout, '-DABORT_OLD=0'] },
    },
  });
  return made;
}
