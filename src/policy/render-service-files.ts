/** What a node is given so that it uses the services of its subnet. */
import type { Ipv4 } from '../domain/ipv4.ts';
import type { SeedFile } from './render-seed.ts';

/** For one node, at the interface that it is behind. */
export interface NodeServices {
  readonly timeServer?: Ipv4;
}

export function serviceFiles({ timeServer }: NodeServices): SeedFile[] {
  return timeServer === undefined ? [] : timeFiles(timeServer);
}

/** Whichever of the two the image has. */
function timeFiles(server: Ipv4): SeedFile[] {
  return [
    { path: 'etc/systemd/timesyncd.conf.d/10-cardless.conf', mode: 0o644, text: `[Time]\nNTP=${server}\n` },
    { path: 'etc/chrony/sources.d/cardless.sources', mode: 0o644, text: `server ${server} iburst\n` },
  ];
}
