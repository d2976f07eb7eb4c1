/** The files that make the shared root this node's own, but for what is drawn anew at each boot. */
import type { Ipv4 } from '../domain/ipv4.ts';
import type { Node, NodeName } from '../domain/node.ts';
import type { PublicKey } from '../domain/public-key.ts';
import { cloudInitFiles } from './render-cloud-init.ts';
import { peopleFiles, userKeysDirectory } from './render-people.ts';
import { resolverFiles } from './render-resolver.ts';
import { vitalsFiles } from './render-vitals.ts';
import type { SeedFile } from './seed-file.ts';

export interface SeedFacts {
  readonly node: Node;
  /** The cluster's own: node names are short names in it. */
  readonly domain: string;
  /** Who signs the keys of nodes, and of those who may log in as root. */
  readonly sshCa: string;
  /** Of root, on every node. */
  readonly authorizedKeys: readonly PublicKey[];
  /** Of all nodes, for /etc/hosts. */
  readonly hosts: readonly { readonly name: NodeName; readonly address: Ipv4 }[];
}

export function seedFiles(facts: SeedFacts): SeedFile[] {
  const { node } = facts;
  return [
    { path: 'etc/hostname', mode: 0o644, text: `${node.name}\n` },
    { path: 'etc/hosts', mode: 0o644, text: hostsText(facts), live: true },
    { path: 'etc/ssh/sshd_config.d/10-cardless.conf', mode: 0o644, text: sshdText(node) },
    { path: userCaFile, mode: 0o644, text: `${facts.sshCa}\n` },
    { path: 'etc/ssh/ssh_known_hosts', mode: 0o644, text: `@cert-authority * ${facts.sshCa}\n`, live: true },
    { path: 'root/.ssh/authorized_keys', mode: 0o600, text: keysText(facts), live: true },
    // The log of a node that lives in its overlay would be most of what it ever writes over the network.
    { path: 'etc/systemd/journald.conf.d/10-cardless.conf', mode: 0o644, text: '[Journal]\nStorage=volatile\n' },
    ...peopleFiles(node),
    ...resolverFiles(node),
    ...cloudInitFiles(node),
    ...vitalsFiles(node),
    ...outageFiles(),
  ];
}

const userCaFile = 'etc/ssh/ca-cardless.pub';

/** Its own name leads to its real address, too: MPI and Slurm tell others what they find there. */
function hostsText({ node, hosts, domain }: SeedFacts): string {
  const own = hosts.find((host) => host.name === node.name)?.address ?? '127.0.1.1';
  const lines = [
    '127.0.0.1 localhost',
    '::1 localhost ip6-localhost ip6-loopback',
    `${own} ${node.name}.${domain} ${node.name}`,
    ...hosts.filter((host) => host.name !== node.name).map((host) => `${host.address} ${host.name}.${domain} ${host.name}`),
  ];
  return `${lines.join('\n')}\n`;
}

function sshdText({ settings }: Node): string {
  const passwords = settings.passwordLogin ? 'yes' : 'no';
  return [
    'HostKey /etc/ssh/ssh_host_ed25519_key',
    'HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub',
    `AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 /${userKeysDirectory}/%u`,
    `TrustedUserCAKeys /${userCaFile}`,
    `PasswordAuthentication ${passwords}`,
    `KbdInteractiveAuthentication ${passwords}`,
    'PermitRootLogin prohibit-password',
    '',
  ].join('\n');
}

function keysText({ node, authorizedKeys }: SeedFacts): string {
  const keys = new Set([...authorizedKeys, ...(node.settings.authorizedKeys ?? [])]);
  return [...keys].map((key) => `${key}\n`).join('');
}

/** Services that their manager takes for dead when they do nothing for three minutes: they may be waiting for the server. */
const watchedServices = ['journald', 'logind', 'networkd', 'oomd', 'resolved', 'timesyncd', 'udevd', 'userdbd'];

/** While the server is away everything that needs its disk waits, and nothing may be killed or restarted for it. */
function outageFiles(): SeedFile[] {
  return [
    ...watchedServices.map((service) => ({
      path: `etc/systemd/system/systemd-${service}.service.d/10-cardless.conf`,
      mode: 0o644,
      text: '[Service]\nWatchdogSec=0\n',
    })),
    { path: 'etc/sysctl.d/99-cardless.conf', mode: 0o644, text: 'kernel.hung_task_panic = 0\n' },
    // The hardware's watchdog is kept quiet by the NBD attacher, which needs no disk; systemd does.
    { path: 'etc/systemd/system.conf.d/10-cardless.conf', mode: 0o644, text: '[Manager]\nRuntimeWatchdogSec=0\n' },
  ];
}
