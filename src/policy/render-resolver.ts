/** Name servers of a node, said to whatever there is in its image that would write others into /etc/resolv.conf. */
import type { Node } from '../domain/node.ts';
import type { SeedFile } from './seed-file.ts';

/** Read by rootfs/agent/apply, which adds the servers of the lease where this names none. */
const resolverFile = 'etc/cardless/resolver';

export function resolverFiles({ settings: { resolver } }: Node): SeedFile[] {
  if (resolver === undefined) {
    return [];
  }
  const { servers = [], search = [] } = resolver;
  const file = (path: string, text: string): SeedFile => ({ path, mode: 0o644, text });
  const resolved = [
    '[Resolve]',
    ...(servers.length === 0 ? [] : [`DNS=${servers.join(' ')}`]),
    ...(search.length === 0 ? [] : [`Domains=${search.join(' ')}`]),
    '',
  ];
  return [
    file(
      resolverFile,
      [...search.slice(0, 1).map(() => `search ${search.join(' ')}\n`), ...servers.map((server) => `nameserver ${server}\n`)].join(''),
    ),
    file('etc/systemd/resolved.conf.d/10-cardless.conf', resolved.join('\n')),
    file('etc/NetworkManager/conf.d/10-cardless.conf', '[main]\ndns=none\n'),
    // openresolv; Debian's resolvconf leaves a file alone that is no link to its own.
    file('etc/resolvconf.conf', 'resolvconf=NO\n'),
    file('etc/dhcp/dhclient-enter-hooks.d/10-cardless', 'make_resolv_conf() { :; }\n'),
  ];
}
