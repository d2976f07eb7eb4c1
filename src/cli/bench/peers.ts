/** The servers that ours is compared with: Debian's, started here in the foreground, never as services of this machine. */
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '../../domain/errors.ts';
import { type Ipv4, ipv4FromNumber, ipv4ToNumber, type Subnet } from '../../domain/ipv4.ts';
import { run } from '../../process/run.ts';
import type { Child } from '../../process/supervise.ts';
import { insideNamespace } from '../../sim/lab.ts';
import type { Context } from '../context.ts';
import type { Segment } from './bench-network.ts';
import { type Contender, startContender } from './contender.ts';

const startTimeoutMs = 15_000;

/**
 * tftpd-hpa and Kea, unpacked into the cache and not installed: their packages would start services that answer on the
 * networks of this machine.
 */
export class PeerPrograms {
  readonly #prefix: string;

  private constructor(prefix: string) {
    this.#prefix = prefix;
  }

  static async fetch(context: Context): Promise<PeerPrograms> {
    const prefix = join(context.places.cache, 'bench-peers');
    const programs = new PeerPrograms(prefix);
    if (await programs.#areComplete()) {
      return programs;
    }
    await rm(prefix, { recursive: true, force: true });
    const archives = join(prefix, 'archives');
    await mkdir(join(archives, 'partial'), { recursive: true });
    context.note('fetching the packages tftpd-hpa and kea-dhcp4-server');
    const { signal } = context;
    const place = ['-o', `Dir::Cache::archives=${archives}`];
    await run('apt-get', ['update', '-q'], { signal });
    const wanted = ['tftpd-hpa', 'kea-dhcp4-server', 'kea-common'];
    // --reinstall also fetches what this machine has installed already.
    const args = [...place, 'install', '--download-only', '--reinstall', '-y', '-q', '--no-install-recommends', ...wanted];
    await run('apt-get', args, { signal, env: { DEBIAN_FRONTEND: 'noninteractive' } });
    for (const name of (await readdir(archives)).filter((file) => file.endsWith('.deb'))) {
      await run('dpkg', ['-x', join(archives, name), prefix], { signal });
    }
    return programs;
  }

  /**
   * Each program is asked to start: libraries that this machine had when the packages were fetched are not among them, and
   * may have been removed since.
   */
  async #areComplete(): Promise<boolean> {
    for (const program of ['in.tftpd', 'kea-dhcp4', 'kea-lfc']) {
      const works = await run(...this.command(program, ['-V'])).then(
        () => true,
        () => false,
      );
      if (!works) {
        return false;
      }
    }
    return true;
  }

  /** A program of the unpacked packages, with their libraries. */
  command(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): readonly [string, readonly string[]] {
    const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
    const libraries = [join(this.#prefix, 'usr/lib', triplet), join(this.#prefix, 'lib', triplet)].join(':');
    const settings = Object.entries({ ...env, LD_LIBRARY_PATH: libraries }).map(([name, value]) => `${name}=${value}`);
    return ['env', [...settings, this.fileOf(program), ...args]];
  }

  fileOf(program: string): string {
    return join(this.#prefix, 'usr/sbin', program);
  }
}

/** Raised from its default of 50: 200 clients are served at once. */
const dnsmasqTransfers = 1000;

export async function startDnsmasqTftp(segment: Segment, root: string): Promise<Contender> {
  const args = ['--enable-tftp', `--tftp-root=${root}`, `--tftp-max=${dnsmasqTransfers}`];
  return await startPeer('dnsmasq', segment, 69, ['dnsmasq', [...dnsmasqCommon(segment), ...args]]);
}

export async function startTftpdHpa(programs: PeerPrograms, segment: Segment, root: string): Promise<Contender> {
  const args = ['-L', '-u', 'nobody', '-a', `${segment.server}:69`, '-s', root];
  return await startPeer('tftpd-hpa', segment, 69, programs.command('in.tftpd', args));
}

/** Without its three seconds of ping before each new address, and without a line of log for each message. */
export async function startDnsmasqDhcp(segment: Segment, directory: string): Promise<Contender> {
  await mkdir(directory, { recursive: true });
  const { first, last } = poolOf(segment.subnet);
  const args = [
    `--dhcp-range=${first},${last},255.255.0.0,24h`,
    `--dhcp-leasefile=${join(directory, 'dnsmasq.leases')}`,
    '--dhcp-lease-max=100000',
    '--dhcp-authoritative',
    '--no-ping',
    '--quiet-dhcp',
  ];
  return await startPeer('dnsmasq', segment, 67, ['dnsmasq', [...dnsmasqCommon(segment), ...args]]);
}

function dnsmasqCommon(segment: Segment): string[] {
  const binding = [`--interface=${segment.interfaceName}`, '--except-interface=lo', '--bind-interfaces'];
  return ['--conf-file=/dev/null', '--port=0', '--keep-in-foreground', '--user=root', '--pid-file=', ...binding];
}

export async function startKea(programs: PeerPrograms, segment: Segment, directory: string): Promise<Contender> {
  await mkdir(directory, { recursive: true });
  const file = join(directory, 'kea-dhcp4.json');
  await writeFile(file, JSON.stringify(keaConfiguration(segment, directory), undefined, 2));
  const places = { KEA_LOCKFILE_DIR: directory, KEA_PIDFILE_DIR: directory, KEA_DHCP_DATA_DIR: directory };
  // Else it looks for its helper where the package would install it.
  const env = { ...places, KEA_LFC_EXECUTABLE: programs.fileOf('kea-lfc') };
  return await startPeer('kea', segment, 67, programs.command('kea-dhcp4', ['-c', file], env));
}

function keaConfiguration(segment: Segment, directory: string): object {
  const { first, last } = poolOf(segment.subnet);
  return {
    Dhcp4: {
      'interfaces-config': { interfaces: [`${segment.interfaceName}/${segment.server}`], 'dhcp-socket-type': 'udp' },
      'lease-database': { type: 'memfile', persist: true, name: join(directory, 'kea-leases4.csv') },
      'valid-lifetime': 86_400,
      subnet4: [{ id: 1, subnet: `${segment.subnet.network}/${segment.subnet.prefix}`, pools: [{ pool: `${first} - ${last}` }] }],
      loggers: [{ name: 'kea-dhcp4', severity: 'ERROR', output_options: [{ output: 'stdout' }] }],
    },
  };
}

/** The upper half of the subnet, less its broadcast address: as our own server takes it. */
function poolOf(subnet: Subnet): { first: Ipv4; last: Ipv4 } {
  const first = ipv4ToNumber(subnet.network);
  const size = 2 ** (32 - subnet.prefix);
  return { first: ipv4FromNumber(first + size / 2), last: ipv4FromNumber(first + size - 2) };
}

async function startPeer(name: string, segment: Segment, port: number, command: readonly [string, readonly string[]]): Promise<Contender> {
  const untilReady = async (child: Child, said: readonly string[]): Promise<void> => {
    let ended = false;
    void child.ended.then(() => {
      ended = true;
    });
    const deadline = Date.now() + startTimeoutMs;
    while (!(await isListening(segment, port))) {
      if (ended || Date.now() > deadline) {
        throw new UserError('failed', `${name} could not be started:\n${said.join('\n')}`);
      }
      await sleep(50);
    }
  };
  return await startContender({ name, segment, command, untilReady });
}

/** proc_net(5): the second column is address and port, in hexadecimal. */
async function isListening(segment: Segment, port: number): Promise<boolean> {
  const sockets = await run(...insideNamespace(segment.namespace, 'cat', ['/proc/net/udp']));
  const wanted = port.toString(16).toUpperCase().padStart(4, '0');
  return sockets.split('\n').some((line) => line.trim().split(/\s+/)[1]?.split(':')[1] === wanted);
}
