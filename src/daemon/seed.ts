/** The files that make the shared root this node's own: a tar that the initramfs unpacks over it at every boot. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { createGzip } from 'node:zlib';
import { pack } from 'tar-stream';
import { projectRoot } from '../config/places.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { Node } from '../domain/node.ts';
import type { HostKey } from './identity.ts';
import { machineId } from './identity.ts';

export interface SeedFacts {
  readonly node: Node;
  readonly hostKey: HostKey;
  readonly authorizedKeys: readonly string[];
  readonly agentKey: string;
  readonly server: Ipv4;
  readonly httpPort: number;
  /** Of all nodes, for /etc/hosts. */
  readonly hosts: readonly { readonly name: string; readonly address: Ipv4 }[];
}

interface SeedEntry {
  readonly name: string;
  readonly mode: number;
  readonly text?: string;
  readonly link?: string;
}

export async function renderSeed(facts: SeedFacts): Promise<Buffer> {
  const agentDirectory = join(projectRoot, 'rootfs/agent');
  const names = ['agent', 'cardless-agent.service', 'freezer'];
  const [agent = '', unit = '', freezer = ''] = await Promise.all(names.map((name) => readFile(join(agentDirectory, name), 'utf8')));
  const archive = pack();
  for (const entry of [...seedEntries(facts), ...agentEntries(facts, { agent, unit, freezer })]) {
    const header = { name: entry.name, mode: entry.mode, uid: 0, gid: 0, mtime: new Date(0) };
    if (entry.link === undefined) {
      archive.entry({ ...header, type: 'file' }, entry.text ?? '');
    } else {
      archive.entry({ ...header, type: 'symlink', linkname: entry.link });
    }
  }
  archive.finalize();
  return await buffer(archive.pipe(createGzip()));
}

function seedEntries(facts: SeedFacts): SeedEntry[] {
  const { node, hostKey } = facts;
  const hosts = [
    '127.0.0.1 localhost',
    `127.0.1.1 ${node.name}`,
    '::1 localhost ip6-localhost ip6-loopback',
    ...facts.hosts.filter((host) => host.name !== node.name).map((host) => `${host.address} ${host.name}`),
  ];
  return [
    { name: 'etc/hostname', mode: 0o644, text: `${node.name}\n` },
    { name: 'etc/hosts', mode: 0o644, text: `${hosts.join('\n')}\n` },
    { name: 'etc/machine-id', mode: 0o444, text: `${machineId(node)}\n` },
    { name: 'etc/ssh/ssh_host_ed25519_key', mode: 0o600, text: hostKey.privateKey },
    { name: 'etc/ssh/ssh_host_ed25519_key.pub', mode: 0o644, text: `${hostKey.publicKey}\n` },
    {
      name: 'etc/ssh/sshd_config.d/10-cardless.conf',
      mode: 0o644,
      text: 'HostKey /etc/ssh/ssh_host_ed25519_key\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n',
    },
    { name: 'root/.ssh/authorized_keys', mode: 0o600, text: facts.authorizedKeys.map((key) => `${key}\n`).join('') },
    // The log of a node that lives in its overlay would be most of what it ever writes over the network.
    { name: 'etc/systemd/journald.conf.d/10-cardless.conf', mode: 0o644, text: '[Journal]\nStorage=volatile\n' },
    ...outageEntries(),
  ];
}

/** Services that their manager takes for dead when they do nothing for three minutes: they may be waiting for the server. */
const watchedServices = ['journald', 'logind', 'networkd', 'oomd', 'resolved', 'timesyncd', 'udevd', 'userdbd'];

/** While the server is away everything that needs its disk waits, and nothing may be killed or restarted for it. */
function outageEntries(): SeedEntry[] {
  return [
    ...watchedServices.map((service) => ({
      name: `etc/systemd/system/systemd-${service}.service.d/10-cardless.conf`,
      mode: 0o644,
      text: '[Service]\nWatchdogSec=0\n',
    })),
    { name: 'etc/sysctl.d/99-cardless.conf', mode: 0o644, text: 'kernel.hung_task_panic = 0\n' },
    // The hardware's watchdog is kept quiet by the NBD attacher, which needs no disk; systemd does.
    { name: 'etc/systemd/system.conf.d/10-cardless.conf', mode: 0o644, text: '[Manager]\nRuntimeWatchdogSec=0\n' },
  ];
}

function agentEntries(facts: SeedFacts, { agent, unit, freezer }: Readonly<Record<'agent' | 'unit' | 'freezer', string>>): SeedEntry[] {
  const unitFile = 'cardless-agent.service';
  return [
    { name: 'usr/lib/cardless/agent', mode: 0o755, text: agent },
    { name: 'usr/lib/cardless/freezer', mode: 0o644, text: freezer },
    {
      name: 'etc/cardless/agent.conf',
      mode: 0o600,
      text: `AGENT_SERVER='http://${facts.server}:${facts.httpPort}'\nAGENT_KEY='${facts.agentKey}'\n`,
    },
    { name: `etc/systemd/system/${unitFile}`, mode: 0o644, text: unit },
    { name: `etc/systemd/system/multi-user.target.wants/${unitFile}`, mode: 0o777, link: `../${unitFile}` },
  ];
}
