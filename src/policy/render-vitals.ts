/** What rootfs/agent/vitals reads: a change reaches nodes that run. */
import type { Node } from '../domain/node.ts';
import { defaultVitalsSeconds } from '../domain/vitals.ts';
import type { SeedFile } from './seed-file.ts';

export function vitalsFiles({ settings }: Node): SeedFile[] {
  const seconds = settings.vitalsSeconds ?? defaultVitalsSeconds;
  return [{ path: 'etc/cardless/vitals.conf', mode: 0o644, text: `VITALS_SECONDS='${seconds}'\n`, live: true }];
}
