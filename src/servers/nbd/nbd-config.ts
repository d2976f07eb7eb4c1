import type { Ipv4 } from '../../domain/ipv4.ts';

export interface NbdConfigOptions {
  readonly address: Ipv4;
  readonly port: number;
  /** Holds `root/`, `overlay/` and `data/`, each with one link per client address. */
  readonly exports: string;
}

/**
 * The configuration of nbd-server, which never changes while it runs. An export's file is the link named after the
 * client's address, so what a node gets is decided by placing a link, and who has none gets nothing. Flush, FUA and
 * trim are off by default and would make fsync a lie.
 */
export function renderNbdConfig(options: NbdConfigOptions): string {
  return `[generic]
listenaddr = ${options.address}
port = ${options.port}
max_threads = 2

[root]
exportname = ${options.exports}/root/%s
virtstyle = ipliteral
readonly = true
splice = true

[overlay]
exportname = ${options.exports}/overlay/%s
virtstyle = ipliteral
flush = true
fua = true
trim = true

[data]
exportname = ${options.exports}/data/%s
virtstyle = ipliteral
flush = true
fua = true
trim = true
`;
}
