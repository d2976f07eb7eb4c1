import type { Ipv4 } from '../../domain/ipv4.ts';

export interface NbdConfigOptions {
  readonly address: Ipv4;
  readonly port: number;
  /** Holds `root/`, `overlay/` and `data/`, each with one link per client address. */
  readonly exports: string;
  /** The script that ends a client's earlier connection, and its records. */
  readonly fence: { readonly script: string; readonly records: string };
}

/** What nodes write to. */
const writable = ['overlay', 'data'] as const;

/** The directories of links, one per export. */
export const nbdExports: readonly string[] = ['root', ...writable];

/**
 * The configuration of nbd-server, which never changes while it runs. An export's file is the link named after the
 * client's address, so what a node gets is decided by placing a link, and who has none gets nothing. Flush, FUA and
 * trim are off by default and would make fsync a lie. `prerun` is run by the process that will serve the connection,
 * before it opens the file: a request that an earlier process of this node still holds must not follow newer ones.
 */
export function renderNbdConfig(options: NbdConfigOptions): string {
  const { script, records } = options.fence;
  const prerun = `prerun = sh ${quote(script)} serve ${quote(records)} '%s'`;
  return `[generic]
listenaddr = ${options.address}
port = ${options.port}
max_threads = 2

[root]
exportname = ${options.exports}/root/%s
virtstyle = ipliteral
readonly = true
splice = true
${prerun}
${writable.map((name) => writableExport(name, options.exports, prerun)).join('')}`;
}

function writableExport(name: string, exports: string, prerun: string): string {
  return `
[${name}]
exportname = ${exports}/${name}/%s
virtstyle = ipliteral
flush = true
fua = true
trim = true
${prerun}
`;
}

/** For the shell, for printf, and for the key file, in which a backslash escapes. */
function quote(path: string): string {
  return `'${path.replaceAll("'", `'\\''`)}'`.replaceAll('%', '%%').replaceAll('\\', '\\\\');
}
