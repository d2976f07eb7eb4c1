/** The contenders' servers, each in its name space: ours as an operator starts it, LTSP and plain NFS as Debian has them. */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findPlaces, projectRoot } from '../../../config/places.ts';
import { UserError } from '../../../domain/errors.ts';
import { containedCommand, run } from '../../../process/run.ts';
import type { Child } from '../../../process/supervise.ts';
import { insideNamespace } from '../../../sim/lab.ts';
import type { Segment } from '../bench-network.ts';
import { type Contender, startContender } from '../contender.ts';
import { type OurServer, startOurServer } from '../our-server.ts';
import { publishRoot, type RootTrees } from './root-tree.ts';

const startTimeoutMs = 30_000;
const nfsPort = 2049;
/** Debian's initramfs prints what the kernel prints, as our own does. */
const consoles = 'console=tty0 console=ttyS0,115200';
const undionly = '/usr/lib/ipxe/undionly.kpxe';

export interface OurRootServer extends OurServer {
  /** Where the links to disks are, by address. */
  readonly exports: string;
  readonly image: string;
}

export async function startOurs(segment: Segment, trees: RootTrees, state: string, signal: AbortSignal): Promise<OurRootServer> {
  const places = findPlaces({ state, env: {} });
  const { digest } = await publishRoot(trees, { ...places, work: join(places.work, 'root') }, signal);
  return { ...(await startOurServer(segment, state)), exports: places.exports, image: join(places.images, digest) };
}

/** `ltsp image`, `ltsp initrd`, `ltsp ipxe` and `ltsp kernel` made the files; the configuration is the package's. */
export async function startLtsp(segment: Segment, trees: RootTrees, directory: string): Promise<Contender> {
  const template = await readFile(join(trees.ltsp, 'ltsp-dnsmasq.conf'), 'utf8');
  // Its own ranges and the DNS servers of the Internet make room for the bench's subnet.
  const kept = template.split('\n').filter((line) => !/^dhcp-range=|^dhcp-option=option:dns-server/.test(line));
  const tftp = join(trees.ltsp, 'tftp');
  // For ROMs that lack what LTSP's menu needs.
  await copyFile(undionly, join(tftp, 'ltsp/undionly.kpxe'));
  const dnsmasq = [...kept, ...dnsmasqLines(segment)];
  return await startNfsServer({
    name: 'ltsp',
    segment,
    trees,
    directory,
    exported: join(trees.ltsp, 'srv'),
    path: '/srv/ltsp',
    tftp,
    dnsmasq,
  });
}

/** The tree itself, read-only for all; what a node writes stays in its memory. */
export async function startNfs(segment: Segment, trees: RootTrees, directory: string): Promise<Contender> {
  const tftp = join(directory, 'tftp');
  await mkdir(tftp, { recursive: true });
  for (const name of ['vmlinuz', 'initrd.img']) {
    await copyFile(join(trees.ltsp, 'tftp/ltsp/x86_64', name), join(tftp, name));
  }
  const words = `root=/dev/nfs nfsroot=${segment.server}:/srv/root ip=dhcp bench.overlay ${consoles}`;
  await writeFile(join(tftp, 'nfs.ipxe'), `#!ipxe\nkernel vmlinuz initrd=initrd.img ${words}\ninitrd initrd.img\nboot\n`);
  const dnsmasq = ['port=0', 'enable-tftp', 'tftp-root=/srv/tftp', 'dhcp-boot=nfs.ipxe', ...dnsmasqLines(segment)];
  return await startNfsServer({ name: 'nfs', segment, trees, directory, exported: trees.client, path: '/srv/root', tftp, dnsmasq });
}

/** Without its three seconds of ping before each new address. */
function dnsmasqLines(segment: Segment): string[] {
  const range = 'dhcp-range=10.77.128.0,10.77.191.254,255.255.0.0,12h';
  return [range, `interface=${segment.interfaceName}`, 'bind-interfaces', 'no-ping', 'dhcp-authoritative'];
}

interface NfsOptions {
  readonly name: string;
  readonly segment: Segment;
  readonly trees: RootTrees;
  readonly directory: string;
  /** The folder on this machine, and the path under which nodes mount it. */
  readonly exported: string;
  readonly path: string;
  readonly tftp: string;
  readonly dnsmasq: readonly string[];
}

async function startNfsServer({ name, segment, trees, directory, exported, path, tftp, dnsmasq }: NfsOptions): Promise<Contender> {
  const configuration = join(directory, 'configuration');
  await mkdir(configuration, { recursive: true });
  await writeFile(join(configuration, 'dnsmasq.conf'), `${dnsmasq.join('\n')}\n`);
  await writeFile(join(configuration, 'ganesha.conf'), ganeshaConfiguration(path));
  // A tree for each, so that two of them can run at once.
  const script = join(projectRoot, 'bench/root/serve-nfs.sh');
  const command = containedCommand(script, [trees.server, exported, tftp, configuration]);
  const untilReady = (child: Child, said: readonly string[]): Promise<void> => untilListens({ name, segment, child, said });
  return await startContender({ name, segment, command, untilReady });
}

/** NFS version 3, which is what the initramfs of Debian mounts a root with. */
function ganeshaConfiguration(path: string): string {
  return `NFS_CORE_PARAM {
  mount_path_pseudo = true;
  Protocols = 3;
  MNT_Port = 20048;
  Enable_NLM = false;
  Enable_RQUOTA = false;
  allow_set_io_flusher_fail = true;
}
NFSv4 { UseGetpwnam = true; Only_Numeric_Owners = true; }
NFS_KRB5 { Active_krb5 = false; }
EXPORT {
  Export_Id = 1;
  Path = /srv/export;
  Pseudo = ${path};
  Access_Type = RO;
  Squash = No_Root_Squash;
  SecType = sys;
  Protocols = 3;
  Transports = TCP, UDP;
  FSAL { Name = VFS; }
}
`;
}

interface Listening {
  readonly name: string;
  readonly segment: Segment;
  readonly child: Child;
  readonly said: readonly string[];
}

async function untilListens({ name, segment, child, said }: Listening): Promise<void> {
  let hasEnded = false;
  void child.ended.then(() => {
    hasEnded = true;
  });
  const deadline = Date.now() + startTimeoutMs;
  while (!(await isListening(segment))) {
    if (hasEnded || Date.now() > deadline) {
      throw new UserError('failed', `The server of ${name} could not be started:\n${said.join('\n')}`);
    }
    await sleep(200);
  }
}

/** proc_net(5): the second column is address and port, in hexadecimal. */
async function isListening(segment: Segment): Promise<boolean> {
  const files = ['/proc/net/tcp', '/proc/net/tcp6'];
  const sockets = await run(...insideNamespace(segment.namespace, 'cat', files));
  const wanted = nfsPort.toString(16).toUpperCase().padStart(4, '0');
  return sockets.split('\n').some((line) => line.trim().split(/\s+/)[1]?.split(':')[1] === wanted);
}
