import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { parseMac } from '#src/domain/mac.ts';
import { startChild } from '#src/process/supervise.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { cardless, inLab, type Ran, ran, startLab, subnet, type TestLab, until } from '../support/lab-server.ts';

const fleet = `
nodes:
  red5: {mac: 52:54:00:00:05:05, ip: 10.78.0.20}
  red6: {mac: 52:54:00:00:05:06, ip: 10.78.0.21}
dns:
  records:
    - {name: printer, type: A, address: 10.78.0.200}
    - {name: www, type: CNAME, target: red5}
    - {name: mirror, type: CNAME, target: deb.example.org}
    - {name: _http._tcp, type: SRV, target: red6, port: 8080, weight: 5}
    - {name: about, type: TXT, text: [made by hand]}
`;

const mode = ['--mode', 'full', '--subnet', subnet];

interface DnsLab extends AsyncDisposable {
  readonly lab: TestLab;
  readonly inside: (file: string, ...args: string[]) => Promise<Ran>;
  /** Answers alone. */
  readonly dig: (...args: string[]) => Promise<string>;
}

/** A server with two nodes; dnsmasq plays the name servers of the world on addresses of the loopback. */
async function dnsLab(name: string, settings: string): Promise<DnsLab> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'cardless-dns-'));
  const config = join(folder, 'cardless.yaml');
  await writeFile(config, settings);
  const lab = stack.use(await startLab(name, [...mode, '--config', config, '--name-server']));
  await writeFile(join(folder, 'cluster.yaml'), fleet);
  const applied = await cardless(['--state', lab.state, 'apply', '-f', join(folder, 'cluster.yaml'), '--force']);
  expect(applied).toMatchObject({ code: 0, stderr: '' });
  const namespace = await lab.lab.addBoard(parseMac('52:54:00:00:05:05'));
  await ran('ip', ['-n', namespace, 'address', 'add', '10.78.0.20/24', 'dev', 'eth0']);
  const inside = (file: string, ...args: string[]): Promise<Ran> => ran(...insideNamespace(namespace, file, args));
  const dig = async (...args: string[]): Promise<string> => {
    const { stdout, stderr, code } = await inside('dig', '@10.78.0.1', '+short', '+tries=1', '+timeout=5', ...args);
    expect([code, stderr]).toEqual([0, '']);
    return stdout;
  };
  const owned = stack.move();
  return { lab, inside, dig, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function startUpstream(lab: TestLab, address: string, ...records: string[]): Promise<AsyncDisposable> {
  const args = [
    '--keep-in-foreground',
    '--conf-file=/dev/null',
    '--no-resolv',
    '--no-hosts',
    '--bind-interfaces',
    '--user=root',
    '--log-queries',
  ];
  const said: string[] = [];
  const all = [...args, '--log-facility=-', '--pid-file=', `--listen-address=${address}`, '--local-ttl=100', ...records];
  const child = startChild(...lab.lab.inside('dnsmasq', all), { graceMs: 1000, onLine: (line) => said.push(line) });
  await until(async () => Promise.resolve(said.some((line) => line.includes('started'))), `dnsmasq: ${said.join('\n')}`);
  return child;
}

const Views = z.array(
  z.object({ service: z.string(), interface: z.string(), changes: z.array(z.string()), status: z.record(z.string(), z.number()) }),
);

async function status(lab: TestLab): Promise<Record<string, number>> {
  const listed = await cardless(['--state', lab.state, 'service', 'list', '--json']);
  return Views.parse(JSON.parse(listed.stdout))[0]?.status ?? {};
}

describe('names of the cluster, as dig and the C library see them', () => {
  test('both ways, by UDP and TCP, with and without the domain, and records of the fleet file', async () => {
    await using dns = await dnsLab('dnsnames', 'upstreamDns: [127.0.0.9]\n');
    const { dig, inside, lab } = dns;
    expect(await dig('red6')).toBe('10.78.0.21');
    expect(await dig('red6.cluster.internal')).toBe('10.78.0.21');
    expect(await dig('+tcp', 'Red6.cluster.internal')).toBe('10.78.0.21');
    expect(await dig('-x', '10.78.0.21')).toBe('red6.cluster.internal.');
    expect(await dig('www.cluster.internal')).toBe('red5.cluster.internal.\n10.78.0.20');
    expect(await dig('_http._tcp.cluster.internal', 'SRV')).toBe('0 5 8080 red6.cluster.internal.');
    expect(await dig('about.cluster.internal', 'TXT')).toBe('"made by hand"');
    expect(await dig('-x', '10.78.0.1')).toMatch(/^[a-z0-9-]+\.cluster\.internal\.$/);
    const missing = (await inside('dig', '@10.78.0.1', 'red9.cluster.internal')).stdout;
    expect(missing).toMatch(/status: NXDOMAIN[\s\S]*flags: qr aa rd ra[\s\S]*cluster\.internal\.\s+30\s+IN\s+SOA/);
    const other = (await inside('dig', '@10.78.0.1', 'red5.cluster.internal', 'AAAA')).stdout;
    expect(other).toMatch(/status: NOERROR[\s\S]*ANSWER: 0, AUTHORITY: 1/);

    const resolv = join(lab.state, 'resolv.conf');
    await writeFile(resolv, 'nameserver 10.78.0.1\nsearch cluster.internal\n');
    const asNode = (...words: string[]): Promise<Ran> =>
      inside('unshare', '-m', 'sh', '-c', 'mount --bind "$0" "$(readlink -f /etc/resolv.conf)" && exec getent "$@"', resolv, ...words);
    expect((await asNode('ahostsv4', 'red6')).stdout).toMatch(/^10\.78\.0\.21\s+STREAM red6\.cluster\.internal$/m);
    expect((await asNode('hosts', 'printer')).stdout).toMatch(/^10\.78\.0\.200\s+printer\.cluster\.internal$/);
    expect((await asNode('hosts', '10.78.0.21')).stdout).toMatch(/^10\.78\.0\.21\s+red6\.cluster\.internal$/);
    expect((await asNode('hosts', 'nobody')).code).toBe(2);

    // The machine itself may ask as well.
    expect((await inLab(lab.lab, 'dig', '@10.78.0.1', '+short', 'red6')).stdout).toBe('10.78.0.21');
    const listed = await cardless(['--state', lab.state, 'service', 'list']);
    expect(listed.stdout).toMatch(/^dns\s+br0\s.*answers on UDP and TCP port 53 of 10\.78\.0\.1$/m);
  });

  test('a node that is removed is gone at once, and a name of the world without upstream is a failure that is told', async () => {
    await using dns = await dnsLab('dnsgone', 'upstreamDns: [127.0.0.9]\n');
    expect((await cardless(['--state', dns.lab.state, 'node', 'rm', 'red6'])).code).toBe(0);
    expect((await dns.inside('dig', '@10.78.0.1', 'red6.cluster.internal')).stdout).toContain('status: NXDOMAIN');
    expect((await dns.inside('dig', '@10.78.0.1', 'www.example.org')).stdout).toContain('status: SERVFAIL');
  });
});

describe('names of the world', () => {
  test('from upstream, then from the cache; large ones by TCP; the next server when the first is silent', async () => {
    // Nobody listens on .9, and packets to .10 vanish.
    await using dns = await dnsLab('dnsworld', 'upstreamDns: [127.0.0.9, 127.0.0.10, 127.0.0.2]\n');
    const { lab, dig, inside } = dns;
    expect(
      (
        await inLab(
          lab.lab,
          'nft',
          'add table inet t; add chain inet t i { type filter hook input priority 0; }; add rule inet t i ip daddr 127.0.0.10 drop',
        )
      ).stderr,
    ).toBe('');
    const big = Array.from({ length: 12 }, (_, index) => `--txt-record=big.example.org,${String(index).repeat(200).slice(0, 200)}`);
    const upstream = await startUpstream(
      lab,
      '127.0.0.2',
      '--address=/deb.example.org/192.0.2.7',
      '--cname=web.example.org,deb.example.org',
      ...big,
    );
    await using _ = upstream;
    expect(await dig('deb.example.org')).toBe('192.0.2.7');
    expect(await dig('mirror.cluster.internal')).toBe('deb.example.org.\n192.0.2.7');
    // Not in one datagram, so by TCP on both sides: dig asks again by itself.
    const large = (await inside('dig', '@10.78.0.1', 'big.example.org', 'TXT')).stdout;
    expect(large).toMatch(/Truncated, retrying in TCP mode[\s\S]*ANSWER: 12/);
    expect((await dig('+ignore', '+notcp', 'big.example.org', 'TXT')).trim()).toBe('');
    expect((await inside('dig', '@10.78.0.1', 'deb.example.org')).stdout).toMatch(/deb\.example\.org\.\s+\d+\s+IN\s+A\s+192\.0\.2\.7/);

    await upstream[Symbol.asyncDispose]();
    expect(await dig('deb.example.org')).toBe('192.0.2.7');
    expect((await inside('dig', '@10.78.0.1', 'other.example.org')).stdout).toContain('status: SERVFAIL');
    expect((await status(lab))['cached']).toBeGreaterThan(0);
  });

  test('who is not in the subnet hears nothing, by UDP or TCP', async () => {
    await using dns = await dnsLab('dnsopen', 'upstreamDns: [127.0.0.2]\n');
    const { lab, inside } = dns;
    await using _ = await startUpstream(lab, '127.0.0.2', '--address=/deb.example.org/192.0.2.7');
    await inside('ip', 'address', 'add', '10.99.0.5/24', 'dev', 'eth0');
    await inLab(lab.lab, 'ip', 'route', 'add', '10.99.0.0/24', 'dev', 'br0');
    const ask = (...args: string[]): Promise<Ran> =>
      inside('dig', '@10.78.0.1', '-b', '10.99.0.5', '+short', '+tries=1', '+timeout=2', ...args);
    for (const args of [['red6'], ['deb.example.org'], ['+tcp', 'deb.example.org']]) {
      expect((await ask(...args)).stdout).not.toContain('192.0.2.7');
      expect((await ask(...args)).stdout).not.toContain('10.78.0.21');
    }
    expect((await status(lab))['refused']).toBeGreaterThanOrEqual(4);
  });
});

test('a port that somebody has is named with its owner, and the stub of systemd-resolved is no trouble', async () => {
  await using free = await startLab('dnsport', [...mode]);
  await free.server[Symbol.asyncDispose]();
  await using stub = await startUpstream(free, '127.0.0.53');
  expect(stub).toBeDefined();
  const up = ['--state', free.state, 'up', '--interface', 'br0', ...mode, '--name-server'];
  {
    await using _ = await startUpstream(free, '10.78.0.1');
    const [file, args] = free.lab.inside(process.execPath, ['src/main.ts', ...up]);
    const refused = await ran(file, args);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/UDP port 53 is taken by dnsmasq \(pid \d+\)/);
  }
  const proxy = await ran(
    ...free.lab.inside(process.execPath, ['src/main.ts', '--state', free.state, 'up', '--interface', 'br0', '--name-server']),
  );
  expect(proxy.code).toBe(2);
  expect(proxy.stderr).toMatch(/interfaces\.0\.nameServer: is for mode full, where the subnet is ours; br0 is in mode proxy/);
});
