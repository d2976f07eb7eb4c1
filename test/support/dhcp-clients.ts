/** The DHCP clients of real systems, each in the foreground, in a name space whose `eth0` is plugged into the lab. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { projectRoot } from '#src/config/places.ts';
import { type Child, startChild } from '#src/process/supervise.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { ran } from './lab-server.ts';

export interface Lease {
  readonly address: string;
  readonly mask: string;
  readonly router: string;
  readonly server: string;
}

export interface DhcpClient extends AsyncDisposable {
  readonly said: () => string;
  /** Every time it was given an address or kept one, in order. */
  readonly leases: () => Promise<Lease[]>;
  /** Makes it ask for its address again. */
  readonly renew: () => Promise<void>;
  /** Gives the address back and ends. */
  readonly release: () => Promise<void>;
}

export interface DhcpClientOptions {
  readonly namespace: string;
  /** A directory of its own. */
  readonly work: string;
}

const support = join(projectRoot, 'test/support');
const script = join(support, 'record-lease.sh');

interface Running {
  readonly child: Child;
  readonly lines: string[];
}

function start(options: DhcpClientOptions, file: string, args: readonly string[]): Running {
  const lines: string[] = [];
  const [program, all] = insideNamespace(options.namespace, file, args);
  const env = { RECORD: join(options.work, 'record') };
  const child = startChild(program, all, { graceMs: 5000, env, onLine: (line) => lines.push(line) });
  return { child, lines };
}

async function recorded(work: string): Promise<Lease[]> {
  const text = await readFile(join(work, 'record'), 'utf8').catch(() => '');
  const rows = text.split('\n').filter((line) => line !== '');
  return rows.map((row) => {
    const [, address = '', mask = '', router = '', server = ''] = row.split(' ');
    return { address, mask, router, server };
  });
}

function signalled(running: Running, signal: NodeJS.Signals): void {
  if (running.child.pid !== undefined) {
    process.kill(running.child.pid, signal);
  }
}

/** A client that records its leases by our script and takes its orders as signals. */
function bySignals(options: DhcpClientOptions, running: Running, signals: { renew: NodeJS.Signals; release: NodeJS.Signals }): DhcpClient {
  return {
    said: () => running.lines.join('\n'),
    leases: () => recorded(options.work),
    renew: () => Promise.resolve(signalled(running, signals.renew)),
    release: async () => {
      signalled(running, signals.release);
      await running.child.ended;
    },
    [Symbol.asyncDispose]: () => running.child[Symbol.asyncDispose](),
  };
}

function startUdhcpc(options: DhcpClientOptions): Promise<DhcpClient> {
  const running = start(options, 'udhcpc', ['-f', '-R', '-i', 'eth0', '-s', script]);
  return Promise.resolve(bySignals(options, running, { renew: 'SIGUSR1', release: 'SIGTERM' }));
}

function startDhcpcd(options: DhcpClientOptions): Promise<DhcpClient> {
  // It keeps leases and its control socket in fixed places.
  const apart = 'mount -t tmpfs tmpfs /run && mkdir -p /var/lib/dhcpcd && mount -t tmpfs tmpfs /var/lib/dhcpcd && exec dhcpcd "$@"';
  const flags = ['-4', '-B', '-d', '-f', '/dev/null', '-c', script, '-e', `RECORD=${join(options.work, 'record')}`, 'eth0'];
  const running = start(options, 'unshare', ['--mount', 'sh', '-c', apart, 'dhcpcd', ...flags]);
  return Promise.resolve(bySignals(options, running, { renew: 'SIGUSR1', release: 'SIGALRM' }));
}

/** Renews by itself after three seconds: it knows no order for that. */
async function startDhclient(options: DhcpClientOptions): Promise<DhcpClient> {
  const settings = join(options.work, 'dhclient.conf');
  await writeFile(settings, 'supersede dhcp-renewal-time 3;\nrequest subnet-mask, broadcast-address, routers, host-name;\n');
  const place = (name: string): string => join(options.work, name);
  const files = ['-cf', settings, '-lf', place('leases'), '-pf', place('pid'), '-sf', script, '-e', `RECORD=${place('record')}`];
  const running = start(options, 'dhclient', ['-4', '-d', '-v', ...files, 'eth0']);
  return {
    ...bySignals(options, running, { renew: 'SIGCONT', release: 'SIGTERM' }),
    renew: () => Promise.resolve(),
    release: async () => {
      const released = await ran(...insideNamespace(options.namespace, 'dhclient', ['-4', '-r', '-v', ...files, 'eth0']));
      running.lines.push(released.stderr);
      await running.child.ended;
    },
  };
}

/** Keeps no record but its log. A link that comes back makes it ask for its address again (RFC 2131 section 4.3.2 INIT-REBOOT). */
function startNetworkd(options: DhcpClientOptions): Promise<DhcpClient> {
  const running = start(options, 'unshare', ['--mount', join(support, 'networkd.sh')]);
  const link = (state: 'down' | 'up'): ReturnType<typeof ran> => ran('ip', ['-n', options.namespace, 'link', 'set', 'eth0', state]);
  const said = (): string => running.lines.join('\n');
  return Promise.resolve({
    ...bySignals(options, running, { renew: 'SIGCONT', release: 'SIGTERM' }),
    leases: () => {
      const all = [...said().matchAll(/DHCPv4 address ([\d.]+)\/(\d+), gateway ([\d.]+) acquired from ([\d.]+)/g)];
      return Promise.resolve(
        all.map(([, address = '', prefix = '', router = '', server = '']) => ({
          address,
          mask: prefix === '24' ? '255.255.255.0' : `/${prefix}`,
          router,
          server,
        })),
      );
    },
    renew: async () => {
      await link('down');
      await link('up');
    },
  });
}

export const dhcpClients: Readonly<
  Record<string, { readonly start: (options: DhcpClientOptions) => Promise<DhcpClient>; readonly releases: RegExp }>
> = {
  dhclient: { start: startDhclient, releases: /DHCPRELEASE of (\S+) on eth0 to 10\.78\.0\.1/ },
  dhcpcd: { start: startDhcpcd, releases: /releasing lease of (\S+)/ },
  'systemd-networkd': { start: startNetworkd, releases: /DHCPv4 client: RELEASE/ },
  udhcpc: { start: startUdhcpc, releases: /unicasting a release of (\S+) to 10\.78\.0\.1/ },
};
