/** What a node is given so that it uses the services of its subnet. */
import type { Ipv4 } from '../domain/ipv4.ts';
import type { SharedDirectory } from '../domain/node-settings.ts';
import type { SeedFile } from './seed-file.ts';
import { placeOf } from './shared-directories.ts';

/** For one node, at the interface that it is behind. */
export interface NodeServices {
  readonly timeServer?: Ipv4;
  readonly shared?: { readonly server: Ipv4; readonly base: string; readonly directories: readonly SharedDirectory[] };
}

export function serviceFiles({ timeServer, shared }: NodeServices): SeedFile[] {
  return [
    ...(timeServer === undefined ? [] : timeFiles(timeServer)),
    ...(shared?.directories ?? []).flatMap((directory) => mountFiles(directory, `${shared?.base}/${directory.name}`, shared?.server)),
  ];
}

/** Whichever of the two the image has. */
function timeFiles(server: Ipv4): SeedFile[] {
  return [
    { path: 'etc/systemd/timesyncd.conf.d/10-cardless.conf', mode: 0o644, text: `[Time]\nNTP=${server}\n` },
    { path: 'etc/chrony/sources.d/cardless.sources', mode: 0o644, text: `server ${server} iburst\n` },
  ];
}

/**
 * Mounted when somebody looks there, so that no boot waits for it and a server that is away for a while is tried again. `hard`:
 * what is under way then waits and does not fail. `addr`: the kernel mounts it without mount.nfs, which small images lack.
 */
function mountFiles(directory: SharedDirectory, source: string, server: Ipv4 | undefined): SeedFile[] {
  const where = placeOf(directory);
  const unit = unitName(where);
  const access = directory.writable === true ? 'rw' : 'ro';
  const options = `addr=${server},vers=4.1,proto=tcp,hard,timeo=100,retrans=3,noatime,nosuid,nodev,${access}`;
  const mount = [
    '[Unit]',
    `Description=${directory.name} of the cluster`,
    // systemd would have it wait for network-online.target, and cloud-init looks into /home before that: both would wait for
    // ever. The network of a node is up before its root is.
    'DefaultDependencies=no',
    'Conflicts=umount.target',
    'Before=umount.target',
    '',
    '[Mount]',
    `What=${server}:${source}`,
    `Where=${where}`,
    'Type=nfs4',
    `Options=${options}`,
    'TimeoutSec=30',
    'LazyUnmount=yes',
    '',
  ];
  const automount = [
    '[Unit]',
    `Description=${directory.name} of the cluster, when it is looked at`,
    '',
    '[Automount]',
    `Where=${where}`,
    '',
  ];
  return [
    { path: `etc/systemd/system/${unit}.mount`, mode: 0o644, text: mount.join('\n') },
    { path: `etc/systemd/system/${unit}.automount`, mode: 0o644, text: automount.join('\n') },
    { path: `etc/systemd/system/remote-fs.target.wants/${unit}.automount`, mode: 0o777, link: `../${unit}.automount` },
  ];
}

/** systemd.unit(5), "String escaping for inclusion in unit names". */
export function unitName(path: string): string {
  const escaped = path
    .split('/')
    .filter((part) => part !== '')
    .map((part) =>
      [...Buffer.from(part)]
        .map((byte) =>
          /[A-Za-z0-9:_.]/.test(String.fromCharCode(byte)) ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`,
        )
        .join(''),
    )
    .join('-');
  return escaped.replace(/^\./, '\\x2e');
}
