/** What of a node's changes belongs to that node alone, or to the day on which it ran: never part of an image. */

/** `seed`: written by the server at every boot. `identity`: tells this machine from others. `state`: of this run alone. */
export type RuleKind = 'seed' | 'identity' | 'state';

export interface Rule {
  /** A path, which covers all below it. `*` stands for any part of one name; `/*` at the end spares the folder itself. */
  readonly path: string;
  readonly kind: RuleKind;
  readonly reason: string;
  /** Folders below are taken, without what is in them: a package's service looks for its own folder there. */
  readonly keepsFolders?: true;
}

const seed = (path: string, reason: string): Rule => ({ path, kind: 'seed', reason });
const identity = (path: string, reason: string): Rule => ({ path, kind: 'identity', reason });
const state = (path: string, reason: string): Rule => ({ path, kind: 'state', reason });
const files = (path: string, reason: string): Rule => ({ path, kind: 'state', reason, keepsFolders: true });

/** In the kernel's memory while a node runs. */
const mounted = ['/dev/*', '/proc/*', '/sys/*', '/run/*'].map((path) => state(path, 'only there while a system runs'));

const histories = ['bash', 'zsh', 'ash', 'sh', 'python', 'mysql', 'psql', 'sqlite'].flatMap((name) =>
  ['/root', '/home/*'].map((home) => identity(`${home}/.${name}_history`, 'what somebody typed')),
);

export const rules: readonly Rule[] = [
  seed('/etc/hostname', 'the name of the node'),
  seed('/etc/hosts', 'names of the nodes'),
  seed('/etc/machine-id', 'the identity that systemd goes by'),
  seed('/etc/ssh/ssh_host_*', 'SSH host keys'),
  seed('/etc/ssh/ssh_known_hosts', "the cluster's authority"),
  seed('/root/.ssh/authorized_keys', 'the keys of the operator'),
  // Of sshd, journald, the network, systemd and the kernel: some lie deeper than others.
  ...['/etc/*', '/etc/*/*', '/etc/*/*/*'].map((folder) => seed(`${folder}/*-cardless.*`, 'what the server sets on every node')),
  seed('/etc/cardless', "the agent's key"),
  seed('/usr/lib/cardless', 'the agent'),
  seed('/var/lib/cardless', 'what the server has put in place'),
  seed('/etc/systemd/system/cardless-*', 'the agent'),
  seed('/etc/systemd/system/*.target.wants/cardless-*', 'the agent'),
  // Of systems without systemd.
  seed('/etc/init.d/cardless', 'the agent'),
  seed('/etc/rc*.d/S99cardless', 'the agent'),
  seed('/etc/local.d/cardless.start', 'the agent'),
  seed('/etc/resolv.conf', 'name servers of the network'),
  seed('/etc/resolvconf.conf', 'name servers of the network'),
  seed('/etc/dhcp/dhclient-enter-hooks.d/10-cardless', 'name servers of the network'),
  seed('/etc/sudoers.d/90-cardless', 'users of the settings'),
  seed('/var/lib/cloud/seed', 'what the server says to cloud-init'),
  identity('/var/lib/dbus/machine-id', 'the identity that D-Bus goes by'),
  identity('/var/lib/systemd/random-seed', 'two nodes with one seed draw the same numbers'),
  identity('/var/lib/systemd/credential.secret', 'a secret of this machine'),
  identity('/var/lib/cloud', 'what cloud-init has done on this machine'),
  identity('/etc/udev/rules.d/70-persistent-*', 'MACs of this machine'),
  identity('/var/lib/NetworkManager/*', 'leases and keys of this machine'),
  identity('/var/lib/dhcp/*', 'leases of this machine'),
  identity('/var/lib/dhcpcd/*', 'leases of this machine'),
  identity('/var/lib/systemd/network/*', 'leases of this machine'),
  ...histories,
  identity('/root/.lesshst', 'what somebody looked for'),
  identity('/home/*/.lesshst', 'what somebody looked for'),
  state('/var/log/journal', 'the journal'),
  files('/var/log/*', 'logs'),
  ...mounted,
  state('/tmp/*', 'temporary files'),
  state('/var/tmp/*', 'temporary files'),
  state('/lost+found', 'of the disk below'),
  state('/var/lib/systemd/timesync/*', 'the time of day'),
  state('/var/lib/systemd/timers/*', 'when timers last ran'),
  files('/var/cache/apt/*', "apt's downloads, which it makes again"),
];

/** With `keepAptLists` they stay, so that a node can install packages without `apt-get update`. */
export const aptLists: Rule = files('/var/lib/apt/lists/*', "apt's lists of packages, which age");

/** The first rule that is about a path; `path` begins with a slash. */
export function ruleFor(path: string, isFolder: boolean, table: readonly Rule[] = rules): Rule | undefined {
  return table.find((rule) => covers(rule.path, path) && !(isFolder && rule.keepsFolders));
}

/** Whether `pattern` stands for this path or for a folder that it is in. */
export function covers(pattern: string, path: string): boolean {
  return expressionOf(pattern).test(path);
}

/** Whether the pattern may stand for something below this folder, and not for the folder itself. */
export function reachesInto(pattern: string, folder: string): boolean {
  const names = pattern.split('/');
  const depth = folder.split('/').length;
  return names.length > depth && covers(names.slice(0, depth).join('/'), folder);
}

const known = new Map<string, RegExp>();

// BOUNDED: patterns come from the table above and from one command line.
function expressionOf(pattern: string): RegExp {
  const found = known.get(pattern);
  if (found) {
    return found;
  }
  const source = pattern
    .replace(/\/+$/, '')
    .replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '[^/]*');
  // A name is never empty, so `/tmp/*` is not /tmp/ itself.
  const expression = new RegExp(`^${source.replace(/\/\[\^\/\]\*$/, '/[^/]+')}(/|$)`);
  known.set(pattern, expression);
  return expression;
}
