/** Which directories of the server which node may mount, and the configuration of the two NFS servers that can export them. */
import { UserError } from '../domain/errors.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { NodeSettings, SharedDirectory } from '../domain/node-settings.ts';

/** What nodes have while nobody says anything else. */
const usual: readonly SharedDirectory[] = [{ name: 'shared' }];

export function sharedOf({ shared = usual }: NodeSettings): readonly SharedDirectory[] {
  return shared;
}

/** Where the node has it. */
export function placeOf({ name, at = `/mnt/${name}` }: SharedDirectory): string {
  return at;
}

export interface Export {
  readonly path: string;
  /** The addresses of nodes and no other. */
  readonly clients: readonly { readonly address: Ipv4; readonly writable: boolean }[];
}

export interface Sharer {
  readonly address: Ipv4;
  readonly settings: NodeSettings;
}

/** @param base the directories are below it, by their names */
export function exportsOf(nodes: readonly Sharer[], base: string): Export[] {
  const byName = new Map<string, Export['clients'][number][]>();
  for (const { address, settings } of nodes) {
    for (const { name, writable = false } of sharedOf(settings)) {
      byName.set(name, [...(byName.get(name) ?? []), { address, writable }]);
    }
  }
  return [...byName].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([name, clients]) => ({ path: `${base}/${name}`, clients }));
}

/**
 * exports(5). The root of a node is nobody here: what it leaves must not be run by users of this machine as root. Without
 * subtree_check a forged file handle leads to every file of the file system that the directory is on.
 */
export function kernelExports(exports: readonly Export[]): string {
  const options = (writable: boolean): string => `(${writable ? 'rw' : 'ro'},sync,subtree_check,root_squash,secure,sec=sys)`;
  const lines = exports.map(({ path, clients }) =>
    [checkedPath(path), ...clients.map(({ address, writable }) => `${address}${options(writable)}`)].join(' '),
  );
  return [...lines, ''].join('\n');
}

export interface GaneshaFacts {
  readonly address: Ipv4;
  readonly port: number;
  /** Where it keeps which clients it had, so that they keep their locks when it starts anew. */
  readonly recovery: string;
  readonly exports: readonly Export[];
}

export function ganeshaConfig({ address, port, recovery, exports }: GaneshaFacts): string {
  return [
    `NFS_CORE_PARAM { Protocols = 4; Bind_addr = ${address}; NFS_Port = ${port}; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }`,
    'NFS_KRB5 { Active_krb5 = false; }',
    `NFSv4 { Minor_Versions = 0, 1, 2; RecoveryBackend = fs; RecoveryRoot = ${checkedPath(recovery)}; Only_Numeric_Owners = true; Grace_Period = 20; Lease_Lifetime = 20; }`,
    'LOG { Default_Log_Level = WARN; }',
    'EXPORT_DEFAULTS { Protocols = 4; Transports = TCP; SecType = sys; Access_Type = None; Squash = root_squash; Anonymous_Uid = 65534; Anonymous_Gid = 65534; PrivilegedPort = true; }',
    ...exportBlocks(exports),
    '',
  ].join('\n');
}

function exportBlocks(exports: readonly Export[]): string[] {
  const ids = new Set<number>();
  return exports.flatMap(({ path, clients }) => {
    const id = exportId(path, ids);
    return [
      `EXPORT { Export_Id = ${id}; Path = ${checkedPath(path)}; Pseudo = ${path}; FSAL { Name = VFS; }`,
      ...[true, false].flatMap((writable) => {
        const addresses = clients.filter((client) => client.writable === writable).map(({ address }) => address);
        return addresses.length === 0
          ? []
          : [`  CLIENT { Clients = ${addresses.join(', ')}; Access_Type = ${writable ? 'RW' : 'RO'}; Protocols = 4; }`];
      }),
      '}',
    ];
  });
}

/** The same for a path however many others there are: handles that nodes hold have it in them. FNV-1a, folded to 16 bits. */
function exportId(path: string, taken: Set<number>): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < path.length; at += 1) {
    hash = Math.imul(hash ^ path.charCodeAt(at), 0x01000193) >>> 0;
  }
  let id = ((hash >>> 16) ^ (hash & 0xffff)) % 65_000;
  while (id === 0 || taken.has(id)) {
    id += 1;
  }
  taken.add(id);
  return id;
}

/** Neither of the two takes every character of a path, and each has its own way to write the others. */
function checkedPath(path: string): string {
  if (!/^\/[A-Za-z0-9/._+@-]*$/.test(path)) {
    throw new UserError('bad-input', `${path} cannot be exported: it has characters that an NFS server does not take as they are`, {
      hint: 'Keep the state folder in a path of letters, digits, dots and dashes',
    });
  }
  return path;
}

export interface NfsFacts {
  /** The kernel has nfsd, or a module of it. */
  readonly hasKernelServer: boolean;
  readonly hasExportfs: boolean;
  readonly hasGanesha: boolean;
}

export type NfsChoice =
  | { readonly kind: 'kernel' | 'ganesha' }
  | { readonly kind: 'missing'; readonly packages: 'nfs-kernel-server' | 'nfs-ganesha' };

/** The kernel's own is the faster one by far; NFS-Ganesha needs nothing of the kernel. */
export function chooseNfsServer({ hasKernelServer, hasExportfs, hasGanesha }: NfsFacts): NfsChoice {
  if (hasKernelServer) {
    return hasExportfs ? { kind: 'kernel' } : { kind: 'missing', packages: 'nfs-kernel-server' };
  }
  return hasGanesha ? { kind: 'ganesha' } : { kind: 'missing', packages: 'nfs-ganesha' };
}
